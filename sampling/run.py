"""One decoding for several groups: pictures are chosen by their packets' timestamps, then only these are decoded."""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable
from typing import Protocol

import av

from sampling.bitstream import Look, look
from sampling.request import Request
from sampling.source import Source

REORDER = 17  # a picture is decoded at most 16 places before its turn (ITU-T H.264, max_num_reorder_frames)
WINDOW_BYTES = 16 * 1024 * 1024  # of compressed packets read ahead of the decoder


class Doubt(Exception):
    """The quick way cannot vouch for the pictures: the stream is damaged or breaks the rules it relies on."""


class Sink(Protocol):
    """Where pictures go."""

    def put(self, request: Request, ms: int, frame: av.VideoFrame, source: Source, wait: bool) -> bool:
        """Accept a picture; false if there is no room for its group and waiting was not allowed."""

    def finish(self, request: Request, errors: tuple[str, ...] = ()) -> None:
        """Every instant of the request has been decided."""


class Decoding:
    """
    One pass over a video from the landing of the first request on.

    :param requests: those of a quick `Run`
    :param cancelled: asked between packets; true ends the pass
    """

    def __init__(self, source: Source, requests: list[Request], sink: Sink, cancelled: Callable[[], bool]) -> None:
        self.source = source
        self.sink = sink
        self.cancelled = cancelled
        self.landing = requests[0].landing
        self.left = {request: len(request.targets) for request in requests}
        self.deferred: list[Request] = []
        self._start = requests[0].first
        self._first = self.landing.pts if self.landing and self.landing.pts is not None else self._start
        self._targets = sorted(
            (tick, request.index, ms, request) for request in requests for tick, ms in request.targets
        )
        self._resolved = 0
        self._number: int | None = None  # of the last reference picture read
        self._timeline: list[int] = []  # timestamps of the pictures read so far
        self._depth = 0  # the most places by which a picture was read before its turn
        self._window: deque[tuple[av.Packet, Look | None]] = deque()  # read, not yet decoded
        self._window_bytes = 0
        self._wanted: dict[int, list[tuple[Request, int, int, bool]]] = {}
        self._unsent = 0  # wanted pictures still in the window
        self._sent = 0
        self._inside: dict[int, int] = {}  # pictures in the decoder: timestamp to place in decoding order
        self._held: deque[tuple[int, av.VideoFrame]] = deque()  # out of the decoder, but not beyond doubt yet
        self._shown: int | None = None  # timestamp of the last picture out of the decoder
        self._open: set[Request] = set()

    def run(self) -> None:
        """
        Decode until every request is finished or deferred.

        :raises Doubt: if the requests in `left` have to be read in the SDK's own way
        """
        try:
            self._pass()
        except av.error.FFmpegError as error:
            raise Doubt(str(error)) from error
        finally:
            self.source.codec.flush_buffers()

    def _pass(self) -> None:
        source = self.source
        source.seek(self._start)
        for packet in source.packets():
            if self.cancelled():
                return
            self._read(packet)
            self._resolve(ended=False)
            self._feed()
            if self._resolved == len(self._targets) and (source.skips or not self._wanted):
                break
        else:
            self._resolve(ended=True)
            self._feed(to_the_end=not source.skips)
        self._drain()
        if self.left and not self.cancelled():
            raise Doubt("a picture that the packets promised did not come out of the decoder")

    def _read(self, packet: av.Packet) -> None:
        source = self.source
        if packet.pts is None or packet.is_corrupt:
            raise Doubt("a packet without timestamp or cut short")
        if not self._timeline:
            if source.landing(packet) != self.landing:
                raise Doubt("the seek came down elsewhere this time")
        elif packet.is_keyframe and source.skips:
            self._leap(packet)
        seen = look(packet, source.nal_length_size, source.parameter_sets) if source.skips else None
        if seen is not None:
            self._check(seen)
        self._window.append((packet, seen))
        self._window_bytes += packet.size
        if packet.is_discard:
            return
        place = bisect_left(self._timeline, packet.pts)
        if place < len(self._timeline) and self._timeline[place] == packet.pts:
            raise Doubt("two pictures at one time")
        self._depth = max(self._depth, len(self._timeline) - place)
        insort(self._timeline, packet.pts)

    def _check(self, seen: Look) -> None:
        """
        See that no reference picture is missing: FFmpeg then makes one up, of what its buffers hold, and that depends
        on what was decoded before.
        """
        if not seen.intact:
            raise Doubt("a packet at which decoding may stop")
        if self._number is not None and not seen.restarts:
            following = (self._number + 1) % (1 << self.source.parameter_sets.number_bits)
            if seen.number not in (self._number, following):
                raise Doubt("a reference picture is missing")
        if seen.reference:
            self._number = seen.number

    def _leap(self, packet: av.Packet) -> None:
        """Forget the packets before a closed key frame if nothing in front of it is wanted."""
        if self._unsent or self._resolved == len(self._targets) or self._targets[self._resolved][0] < packet.pts:
            return
        if self.source.landing(packet).closed and all(seen is not None and seen.plain for _, seen in self._window):
            self._drain()
            self._window.clear()
            self._window_bytes = 0

    def _resolve(self, ended: bool) -> None:
        """Choose a picture for each instant whose neighbours are known."""
        timeline = self._timeline
        while self._resolved < len(self._targets):
            tick, _, ms, request = self._targets[self._resolved]
            place = bisect_left(timeline, tick)
            after = len(timeline) - place
            if not timeline or (place == 0 and timeline[0] != tick):
                raise Doubt("no picture at or before an instant")
            if after and (ended or after >= REORDER):
                earlier = place > 0 and tick - timeline[place - 1] < timeline[place] - tick
                chosen = timeline[place - 1] if earlier else timeline[place]
            elif ended:
                chosen = timeline[-1]
            else:
                return
            self._resolved += 1
            if request in self.left:
                self._want(chosen).append((request, tick, ms, not after))
                if after and not self.source.skips:
                    self._want(timeline[place])

    def _want(self, pts: int) -> list[tuple[Request, int, int, bool]]:
        if pts not in self._wanted:
            self._wanted[pts] = []
            self._unsent += 1
        return self._wanted[pts]

    def _feed(self, to_the_end: bool = False) -> None:
        """
        Send the decoder what it needs for the pictures wanted so far, as far as they are settled.

        The SDK decodes until the picture after the instant comes out, and finds none if the decoder fails before. H.264
        shows by its framing whether it would; with other codecs, just as much has to be decoded.
        """
        settled: float = float("inf")
        if self._resolved < len(self._targets):
            place = bisect_right(self._timeline, self._targets[self._resolved][0])
            settled = self._timeline[place - 1] if place else float("-inf")
        while self._window and (to_the_end or self._hungry() or self._window_bytes > WINDOW_BYTES):
            packet, seen = self._window[0]
            if packet.pts >= settled or self.cancelled():
                return
            self._window.popleft()
            self._window_bytes -= packet.size
            if packet.pts in self._wanted:
                self._unsent -= 1
            elif seen is not None and seen.spare:
                continue
            if not packet.is_discard:
                self._inside[packet.pts] = self._sent
            self._sent += 1
            frames = self.source.codec.decode(packet)
            if frames:
                self.source.first_shown_after(self._sent)
                self._show(frames)

    def _hungry(self) -> bool:
        return self._unsent > 0 if self.source.skips else bool(self._wanted)

    def _drain(self) -> None:
        """Have the decoder give out what it holds back."""
        if self._wanted:
            self._show(self.source.codec.decode(None))
        self._inside.clear()
        self._deliver()
        self.source.codec.flush_buffers()
        self._sent = 0

    def _show(self, frames: list[av.VideoFrame]) -> None:
        """Take what comes out of the decoder, in order of presentation."""
        for frame in frames:
            if frame.is_corrupt or frame.pts not in self._inside or (self._shown or frame.pts) > frame.pts:
                raise Doubt("a damaged picture, or one out of its turn")
            self._shown = frame.pts
            self._held.append((self._inside.pop(frame.pts), frame))
            for passed in [pts for pts in self._inside if pts < frame.pts]:
                if passed > self._first:
                    raise Doubt("a picture that was decoded did not come out")
                del self._inside[passed]  # its references lie in front of the first key frame
            self._deliver()

    def _deliver(self) -> None:
        """
        Hand on the pictures that are beyond doubt: those that were decoded before any picture still in the decoder,
        since one that turns out damaged may have damaged all that were decoded after it.
        """
        oldest = next(iter(self._inside.values()), None)
        while self._held and (oldest is None or self._held[0][0] < oldest):
            _, frame = self._held.popleft()
            wishes = self._wanted.pop(frame.pts, ())
            if wishes and not self.source.keeps_order(self._depth, self._sent):
                raise Doubt("pictures further out of order than the decoder expects")
            for request, tick, ms, at_end in wishes:
                self._settle(request, ms, None if at_end and tick - frame.pts > self.source.tolerance(frame) else frame)

    def _settle(self, request: Request, ms: int, frame: av.VideoFrame | None) -> None:
        if request not in self.left or self.cancelled():
            return
        if frame is not None:
            if not self.sink.put(request, ms, frame, self.source, wait=not self._open):
                del self.left[request]
                self.deferred.append(request)
                return
            self._open.add(request)
        self.left[request] -= 1
        if not self.left[request]:
            del self.left[request]
            self._open.discard(request)
            self.sink.finish(request)
