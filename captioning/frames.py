"""The frames of each task, read ahead of the engine."""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from PIL import Image

from captioning.plan import Task
from captioning.running import RunningCall
from sampling.budget import Hold
from sampling.timepoints import Instant
from sampling.video import ByteBudget, FrameGroup, GroupReader, VideoError, read_groups


@dataclass(frozen=True)
class Frames:
    """
    The frames of one task, as far as they can be read. Whoever is done with them releases :attr:`hold`.

    :param index: position of the task in the plan
    :param images: RGB, in the task's order
    :param instants: the instant of each image
    :param times: when each image is shown, in ms on the media timeline
    :param unread: the instants, in ms, that there is no picture for
    :param trouble: what the decoder, or opening the file, ran into; empty if nothing
    """

    index: int
    task: Task
    images: tuple[Image.Image, ...]
    instants: tuple[Instant, ...]
    times: tuple[float, ...]
    unread: tuple[int, ...]
    trouble: str = ""
    group: FrameGroup | None = field(default=None, repr=False, compare=False)

    @property
    def hold(self) -> Hold | None:
        """The bytes of the images in the budget, for whoever gives them back without knowing the images."""
        return self.group.hold if self.group is not None else None


def read(tasks: Sequence[Task], budget: ByteBudget, running: RunningCall) -> Generator[Frames, None, None]:
    """
    Read the frames of ``tasks``, one video after the other, ahead of whoever takes them; in the background only as far
    ahead as it takes to go on while others are there.

    :param budget: bytes that frames may hold, shared by all calls
    :param running: ends the reading when it is cancelled
    :returns: the frames of each task, as soon as they are complete, roughly in time order within a video; closing the
        generator stops the readers
    """
    waiting = contextlib.nullcontext if running.background else running.precedence.short_of_room
    by_path: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        by_path.setdefault(str(task.path), []).append(index)
    for path, indices in by_path.items():
        if running.reason:
            return
        left = set(indices)
        instants = [[instant.ms for instant in tasks[index].instants] for index in indices]
        try:
            with (
                read_groups(path, instants, budget=budget, waiting=waiting) as groups,
                running.on_cancel(groups.stop),
                _making_way(groups, running),
            ):
                running.reader = groups
                for group in groups:
                    index = indices[group.index]
                    left.discard(index)
                    yield _frames(index, tasks[index], group)
        except VideoError as error:
            if running.reason:
                return
            for index in sorted(left):
                yield Frames(index, tasks[index], (), (), (), tuple(i.ms for i in tasks[index].instants), str(error))


def _making_way(groups: GroupReader, running: RunningCall) -> contextlib.AbstractContextManager[None]:
    return running.precedence.telling(groups.hold_back) if running.background else contextlib.nullcontext()


def _frames(index: int, task: Task, group: FrameGroup) -> Frames:
    pairs = list(zip(group.frames, task.instants, strict=True))
    return Frames(
        index=index,
        task=task,
        images=tuple(frame.image for frame, _ in pairs if frame is not None),
        instants=tuple(instant for frame, instant in pairs if frame is not None),
        times=tuple(frame.pts_ms for frame, _ in pairs if frame is not None),
        unread=tuple(instant.ms for frame, instant in pairs if frame is None),
        trouble="; ".join(group.decode_errors),
        group=group,
    )
