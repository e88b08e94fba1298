"""One group read as the SDK reads it: from a file opened anew, every frame decoded up to the last instant."""

from collections.abc import Callable, Iterator
from os import PathLike

import av

from sampling.request import Request
from sampling.run import Sink
from sampling.source import Source


def read(path: str | PathLike[str], request: Request, sink: Sink, cancelled: Callable[[], bool]) -> None:
    """
    Serve one request, whatever state the video is in.

    :param cancelled: asked between packets; true ends the reading
    :raises VideoError: if the file cannot be opened
    """
    source = Source(path)
    try:
        errors: list[str] = []
        _choose(source, _frames(source, request.first, errors, cancelled), request, sink)
    finally:
        source.close()
    if not cancelled():
        sink.finish(request, tuple(errors))


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


def _choose(source: Source, frames: Iterator[av.VideoFrame], request: Request, sink: Sink) -> None:
    """
    Give each instant the frame nearest to it.

    No frame is held on to longer than the SDK holds it: a decoder that cannot read a part of a damaged picture leaves
    there what the buffer held before, and which buffer that is depends on which ones are in use.
    """
    targets = iter(request.targets)
    target = next(targets, None)
    earlier: av.VideoFrame | None = None
    for frame in frames:
        if frame.pts is None:
            continue
        while target is not None and frame.pts >= target[0]:
            tick, ms = target
            if earlier is None:
                near, taken = frame.pts - tick <= source.tolerance(frame), True
            else:
                near, taken = True, frame.pts - tick <= tick - earlier.pts
            if near and not sink.put(request, ms, frame if taken else earlier, source, wait=True):
                return
            target = next(targets, None)
        earlier = frame
        if target is None:
            return
    while target is not None and earlier is not None:
        tick, ms = target
        if tick - earlier.pts <= source.tolerance(earlier) and not sink.put(request, ms, earlier, source, wait=True):
            return
        target = next(targets, None)
