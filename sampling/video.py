"""
Instants to frames: one ordered pass per video, frames handed over group by group, memory bounded.

The picture chosen for an instant is the one that the SDK's ``extract_images_from_timepoints`` gives when it is called
once per group, pixel for pixel, also where a file is damaged. One kind of damage is excepted: where whole packets are
missing from a stream of HEVC, VP9 or AV1 and the container is whole, the decoder makes up what later pictures lack, and
that may differ. H.264 counts its pictures, so that the gap is seen.

Where the SDK finds no picture though the video has one, because its seek came down after the instant (nearly always in
MPEG program and transport streams), the picture is the one whose presentation timestamp is nearest.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from os import PathLike, fspath
from types import TracebackType

import av
from PIL import Image

from sampling import exact
from sampling.budget import DEFAULT_BYTES, ByteBudget, Hold
from sampling.pixels import image_bytes
from sampling.request import Plan, Request
from sampling.run import Decoding, Doubt
from sampling.source import Source, VideoError

__all__ = ["DEFAULT_BYTES", "ByteBudget", "Frame", "FrameGroup", "GroupReader", "VideoError", "read_groups"]

MAX_READERS = 4
AHEAD = 64


@dataclass(frozen=True)
class Frame:
    """
    A decoded picture. Frames may share one image: do not draw on it.

    :param image: RGB
    :param instant_ms: the time asked for, milliseconds on the media timeline
    :param pts_ms: the picture's own presentation timestamp, likewise
    """

    image: Image.Image
    instant_ms: int
    pts_ms: float


@dataclass(frozen=True)
class FrameGroup:
    """
    The frames of one prompt. Whoever is done with them calls `release` or leaves a ``with`` block.

    :param index: position of the group in the request
    :param frames: in the order asked; ``None`` where the video has no picture within reach of the instant
    :param decode_errors: what the decoder said if it stopped early; the frames after that are ``None``
    """

    index: int
    frames: tuple[Frame | None, ...]
    decode_errors: tuple[str, ...] = ()
    hold: Hold | None = field(default=None, repr=False, compare=False)

    def release(self) -> None:
        """Give the bytes of the frames back to the budget; a second time does nothing."""
        if self.hold is not None:
            self.hold.release()

    def __enter__(self) -> "FrameGroup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Cores:
    """How many readers are at work in the process, so that calls side by side do not crowd each other out."""

    def __init__(self) -> None:
        self.count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._busy = 0
        self._lock = threading.Lock()

    def enter(self, always: bool) -> bool:
        """Count a reader in; refused if no core is free, unless it is a call's first."""
        with self._lock:
            if not always and self._busy >= self.count:
                return False
            self._busy += 1
            return True

    def leave(self) -> None:
        """Count a reader out."""
        with self._lock:
            self._busy -= 1


_cores = _Cores()

Waiting = Callable[[], AbstractContextManager[None]]


class _Desk:
    """Where the readers of one call put frames and the consumer takes groups. Knows no consumer."""

    def __init__(
        self,
        path: str,
        groups: Sequence[Sequence[int]],
        budget: ByteBudget,
        readers: int,
        ahead: int,
        waiting: Waiting = nullcontext,
    ) -> None:
        self.path = path
        self.groups = [tuple(group) for group in groups]
        self.budget = budget
        self.readers = readers
        self.ahead = ahead
        self.waiting = waiting
        self.held_back = False
        self.changed = threading.Condition()
        self.ready: deque[FrameGroup] = deque()
        self.left = len(self.groups)  # groups that the consumer has not taken
        self.failure: BaseException | None = None
        self.threads: list[threading.Thread] = []
        self.plan: Plan | None = None
        self._stopped = threading.Event()
        self._frames: dict[Request, dict[int, Frame]] = {}
        self._holds: dict[Request, Hold] = {}

    def start_reader(self) -> None:
        """Start one more reader if the call may have it and a core is free."""
        with self.changed:
            if self._stopped.is_set() or len(self.threads) >= self.readers or not _cores.enter(not self.threads):
                return
            name = f"frames-{len(self.threads)}"
            self.threads.append(threading.Thread(target=self._read, name=name, daemon=True))
            self.threads[-1].start()

    def stopped(self) -> bool:
        """Whether the readers are to stop."""
        return self._stopped.is_set()

    @property
    def reading(self) -> int:
        """How many groups hold bytes, complete or not; one while nobody has got that far."""
        return max(len(self._holds) + len(self.ready), min(self.left, 1))

    def halt(self) -> None:
        """Have the readers stop, and the consumer not wait any longer."""
        self._stopped.set()
        self.budget.wake()
        with self.changed:
            self.changed.notify_all()

    def stop(self) -> None:
        """Have the readers stop, wait until they have, and give back what waits to be taken."""
        self.halt()
        with self.changed:
            waiting, threads = list(self.ready), list(self.threads)
            self.ready.clear()
        for group in waiting:
            group.release()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()
        for request in list(self._holds):
            self.drop(request)

    def put(self, request: Request, ms: int, frame: av.VideoFrame, source: Source, wait: bool) -> bool:
        """Turn a picture into an image, once there is room for its whole group."""
        frames = self._frames.setdefault(request, {})
        if request not in self._holds:
            size = len(request.targets) * image_bytes(frame.width, frame.height)
            if not self._room(wait) or not self._acquire(size, wait):
                return False
            self._holds[request] = Hold(self.budget, size)
        pts_ms = source.milliseconds(frame.pts)
        last = next(reversed(frames.values()), None)
        image = last.image if last is not None and last.pts_ms == pts_ms else source.image(frame)
        frames[ms] = Frame(image, ms, pts_ms)
        return True

    def drop(self, request: Request) -> None:
        """Forget what has been put for a request."""
        self._frames.pop(request, None)
        hold = self._holds.pop(request, None)
        if hold is not None:
            hold.release()

    def finish(self, request: Request, errors: tuple[str, ...] = ()) -> None:
        """Hand over a group."""
        frames = self._frames.pop(request, {})
        hold = self._holds.pop(request, None)
        if hold is not None:
            images = {id(frame.image): frame.image for frame in frames.values()}
            hold.shrink(sum(image_bytes(image.width, image.height) for image in images.values()))
        self._hand_over(FrameGroup(request.index, tuple(frames.get(ms) for ms in request.instants), errors, hold))

    def _hand_over(self, group: FrameGroup) -> None:
        with self.changed:
            if not self.stopped():
                self.ready.append(group)
                self.changed.notify_all()
                return
        group.release()

    def _room(self, wait: bool) -> bool:
        """Wait until the consumer has taken enough; a reader that may not wait is in the middle of a group."""
        with self.changed:
            if wait:
                self.changed.wait_for(lambda: self.stopped() or len(self.ready) < (1 if self.held_back else self.ahead))
            return not self.stopped()

    def _acquire(self, size: int, wait: bool) -> bool:
        if self.budget.try_acquire(size):
            return True
        if not wait:
            return False
        with self.waiting():
            return self.budget.acquire(size, self.stopped)

    def _read(self) -> None:
        try:
            source = Source(self.path, threads=max(1, _cores.count // self.readers))
            try:
                self._serve(source)
            finally:
                source.close()
        except BaseException as error:
            with self.changed:
                self.failure = self.failure or error
                self.changed.notify_all()
        finally:
            _cores.leave()

    def _serve(self, source: Source) -> None:
        with self.changed:
            plan = self.plan = self.plan or Plan.of(self.groups, source)
        while not self.stopped():
            run = plan.take(source)
            if run is None:
                return
            if plan.pending:
                self.start_reader()
            slow = run.requests
            if run.quick:
                decoding = Decoding(source, run.requests, self, self.stopped)
                try:
                    decoding.run()
                    plan.learn(True)
                    slow = []
                except Doubt:
                    plan.learn(False)
                    slow = list(decoding.left)
                for request in [*slow, *decoding.deferred]:
                    self.drop(request)
                plan.put_back(decoding.deferred)
            for request in slow:
                if not self.stopped():
                    exact.read(self.path, request, self, self.stopped)


class GroupReader(Iterator[FrameGroup]):
    """
    The groups of one call, as they become complete; an iterator and a context manager. Made by `read_groups`.

    Readers run ahead on threads of their own from the start. They stop when the last group is taken, when `close` is
    called, or when nobody knows the reader any more.
    """

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    def __next__(self) -> FrameGroup:
        """
        The next complete group; waits for it.

        :raises VideoError: if the video cannot be opened
        """
        desk = self._desk
        with desk.changed:
            desk.changed.wait_for(lambda: desk.ready or desk.failure or desk.stopped() or not desk.left)
            if desk.ready and not desk.stopped():
                desk.left -= 1
                desk.changed.notify_all()
                return desk.ready.popleft()
        self.close()
        if desk.failure is not None:
            failure, desk.failure = desk.failure, None
            raise failure
        raise StopIteration

    @property
    def reading(self) -> int:
        """How many groups are being read, or are complete and not taken; at least one until all have been taken."""
        return self._desk.reading

    def hold_back(self, back: bool) -> None:
        """
        Read no further than to the next group, or as far ahead as before. Any thread may call it; does not block.

        :param back: whether to
        """
        with self._desk.changed:
            self._desk.held_back = back
            self._desk.changed.notify_all()

    def stop(self) -> None:
        """End the iteration and the reading, also for a consumer that waits. Any thread may call it; does not block."""
        self._desk.halt()

    def close(self) -> None:
        """Stop the readers, close the files and give back all frames that nobody has taken. Any thread may call it."""
        self._desk.stop()

    def __enter__(self) -> "GroupReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def read_groups(
    path: str | PathLike[str],
    groups: Sequence[Sequence[int]],
    *,
    budget: ByteBudget,
    readers: int | None = None,
    ahead: int = AHEAD,
    waiting: Waiting = nullcontext,
) -> GroupReader:
    """
    Read the frames nearest to given instants.

    Groups come out as soon as they are complete, in time order apart from small shifts between readers; `index` says
    which is which. A group's bytes are taken from the budget before its first image is made and stay taken until it is
    released, so release groups that are done with before, or on another thread than, asking for the next.

    :param path: the video
    :param groups: for each group the instants it wants, milliseconds on the media timeline, in any order
    :param budget: shared by all calls of the process
    :param readers: how many files to read from at once; by default as many as there are cores, up to four
    :param ahead: how many complete groups may wait to be taken
    :param waiting: makes a context that a reader enters while it waits for bytes
    :returns: the groups; the first `next` raises `VideoError` if the video cannot be opened
    """
    wanted = min(_cores.count, MAX_READERS) if readers is None else readers
    desk = _Desk(fspath(path), groups, budget, max(1, wanted), max(1, ahead), waiting)
    for index, group in enumerate(desk.groups):
        if not group:
            desk.ready.append(FrameGroup(index, ()))
    if len(desk.ready) < len(desk.groups):
        desk.start_reader()
    return GroupReader(desk)
