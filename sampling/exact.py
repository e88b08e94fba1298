"""One group read as the SDK reads it: from a file opened anew, every frame decoded up to the last instant."""

from collections.abc import Callable, Iterator, Sequence
from os import PathLike

import av

from sampling.request import Request
from sampling.run import Sink
from sampling.source import Source

Targets = Sequence[tuple[int, int]]

# How much further back to look for a key frame where the SDK's seek came down too late.
FURTHER_BACK_MS = (1000, 4000, 16_000, 64_000)


def read(path: str | PathLike[str], request: Request, sink: Sink, cancelled: Callable[[], bool]) -> None:
    """
    Serve one request, whatever state the video is in.

    In MPEG program and transport streams, which have no index, the SDK's seek comes down between key frames: decoding
    begins after the instant, and the SDK has no picture. For such instants alone, decoding begins again further back.

    :param cancelled: asked between packets; true ends the reading
    :raises VideoError: if the file cannot be opened
    """
    source = Source(path)
    try:
        errors: list[str] = []
        frames = _frames(source, request.first, errors, cancelled)
        missing = _choose(source, frames, request, request.targets, sink)
        if missing and not errors and not cancelled():
            _choose(source, _frames_before(source, missing[0][0], cancelled), request, missing, sink)
    finally:
        source.close()
    if not cancelled():
        sink.finish(request, tuple(errors))


def _frames_before(source: Source, tick: int, cancelled: Callable[[], bool]) -> Iterator[av.VideoFrame]:
    """The frames from one at or before a time on, if there is any; otherwise from the first of all."""
    begin = source.stream.start_time or 0
    starts = [start for back in FURTHER_BACK_MS if (start := tick - source.ticks(back)) > begin]
    if len(starts) < len(FURTHER_BACK_MS):
        # A seek to the very beginning may come down after it, and one to before it may fail; one of the two goes well.
        starts += [begin, begin - source.ticks(1000)]
    for start in starts:
        frames = _frames(source, start, [], cancelled)
        first = next((frame for frame in frames if frame.pts is not None), None)
        if first is not None and (first.pts <= tick or start < begin):
            yield first
            yield from frames
            return


def _frames(source: Source, start: int, errors: list[str], cancelled: Callable[[], bool]) -> Iterator[av.VideoFrame]:
    """The frames from a seek on, up to the first error."""
    try:
        source.seek(start)
        for packet in source.container.demux(source.stream):
            if cancelled():
                return
            yield from packet.decode()
    except av.error.FFmpegError as error:
        errors.append(f"{type(error).__name__}: {error}")
        try:
            yield from source.codec.decode(None)
        except av.error.FFmpegError as flush_error:
            errors.append(f"{type(flush_error).__name__}: {flush_error}")


def _choose(source: Source, frames: Iterator[av.VideoFrame], request: Request, wanted: Targets, sink: Sink) -> Targets:
    """
    Give each instant the frame nearest to it.

    No frame is held on to longer than the SDK holds it: a decoder that cannot read a part of a damaged picture leaves
    there what the buffer held before, and which buffer that is depends on which ones are in use.

    :returns: the instants for which there is none
    """
    targets = iter(wanted)
    target = next(targets, None)
    earlier: av.VideoFrame | None = None
    missing: list[tuple[int, int]] = []
    for frame in frames:
        if frame.pts is None:
            continue
        while target is not None and frame.pts >= target[0]:
            tick, ms = target
            if earlier is None:
                near, taken = frame.pts - tick <= source.tolerance(frame), True
            else:
                near, taken = True, frame.pts - tick <= tick - earlier.pts
            if not near:
                missing.append(target)
            elif not sink.put(request, ms, frame if taken else earlier, source, wait=True):
                return ()
            target = next(targets, None)
        earlier = frame
        if target is None:
            return missing
    while target is not None:
        tick, ms = target
        if earlier is None or tick - earlier.pts > source.tolerance(earlier):
            missing.append(target)
        elif not sink.put(request, ms, earlier, source, wait=True):
            return ()
        target = next(targets, None)
    return missing
