"""TimeFrame and sampling mode to the instants to look at. Opens no video."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mmif.utils.video_document_helper import sample_timepoints

Mode = Literal["representatives", "single", "all"]

MOST_FRAMES = 2_000_000  # of an interval that is sampled frame by frame: 18 hours; more would fill the memory by itself


@dataclass(frozen=True)
class Instant:
    """
    A time to look at.

    :param ms: milliseconds on the media timeline
    :param time_point: id of the TimePoint it comes from; ``None`` if no TimePoint stands for it yet
    """

    ms: int
    time_point: str | None = None


@dataclass(frozen=True)
class Segment:
    """
    What a TimeFrame says about time, each part as far as it says it.

    :param representatives: its representative TimePoints, in its order
    :param targets: the TimePoints it is made of, in its order
    :param interval: start and end in milliseconds
    """

    representatives: tuple[Instant, ...] = ()
    targets: tuple[Instant, ...] = ()
    interval: tuple[int, int] | None = None

    @property
    def span(self) -> tuple[int, int]:
        """Its start and end in milliseconds; those of its TimePoints if it does not say, 0 and 0 if it has none."""
        times = [instant.ms for instant in self.targets or self.representatives]
        return self.interval or (min(times, default=0), max(times, default=0))


def instants(segment: Segment, mode: Mode, frame_rate: Callable[[], float]) -> tuple[Instant, ...]:
    """
    Choose the instants to look at, as the SDK's ``video_document_helper`` does; where that fails for want of a start
    and an end, the targets (or the representatives) stand in for them.

    :param frame_rate: frames per second of the video; asked only to sample an interval frame by frame
    :returns: the instants in frame order; none in mode ``representatives`` if the segment has no representatives
    :raises ValueError: if the segment says nothing about time that ``mode`` can use, or is longer than any video
    """
    if mode == "representatives":
        return segment.representatives
    if mode == "single":
        return (_middle(segment),)
    if segment.targets:
        return segment.targets
    if segment.interval is not None:
        start, end = segment.interval
        step = 1000 / frame_rate()
        if (frames := math.ceil((end - start) / step)) > MOST_FRAMES:
            raise ValueError(
                f"it has {frames} frames; {MOST_FRAMES} are the most. Shorten it, or set another tfSamplingMode"
            )
        return tuple(Instant(ms) for ms in sample_timepoints(start, end, step))
    if segment.representatives:
        return segment.representatives
    raise ValueError("it has neither targets nor representatives nor start and end")


def _middle(segment: Segment) -> Instant:
    if segment.representatives:
        return segment.representatives[len(segment.representatives) // 2]
    if segment.interval is not None:
        return Instant(sum(segment.interval) // 2)
    if segment.targets:
        return segment.targets[len(segment.targets) // 2]
    raise ValueError("it has neither representatives nor start and end nor targets")
