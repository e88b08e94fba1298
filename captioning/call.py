"""One call, from its plan to its captions."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from captioning.frames import Frames, reading
from captioning.parameters import Parameters
from captioning.plan import Plan, not_captioned
from captioning.window import sliding_window
from captioning.writing import Caption
from engine.conversation import Message
from engine.engine import Completion, Request
from engine.errors import PromptRefused

Conversation = Callable[[int], list[list[Message]]]


class CaptioningFailed(RuntimeError):
    """Not one of the TimeFrames that were asked for could be captioned. Seen by the caller as an error view."""


class SubmitsRequests(Protocol):
    """What a call needs of an engine."""

    def submit(self, request: Request) -> "Future[Completion]":
        """See :meth:`engine.engine.Engine.submit`."""


@dataclass(frozen=True)
class Outcome:
    """
    What a call has come to.

    :param captions: in the order of the plan's tasks
    :param warnings: what the caller should know, in the order of the plan's tasks
    """

    captions: list[Caption]
    warnings: list[str]


def run(
    plan: Plan,
    parameters: Parameters,
    conversation: Conversation,
    engine: SubmitsRequests,
    report_progress: Callable[[int, int], None],
) -> Outcome:
    """
    Caption the tasks of ``plan``, ``parameters.parallel_prompts`` at a time.

    :param conversation: makes the chat messages of each generation for a number of frames
    :param report_progress: is told how many of how many tasks are done
    :raises CaptioningFailed: if there were TimeFrames to caption and all failed
    :raises EngineDied: if the engine went away meanwhile
    """
    sampling = parameters.decoding.sampling_params()
    captions: dict[int, Caption] = {}
    warnings: dict[int, list[str]] = {}
    failures = plan.failures
    report_progress(0, len(plan.tasks))

    def submit(read: tuple[int, Frames]) -> "Future[Completion]":
        _, frames = read
        if frames.images:
            return engine.submit(Request(conversation(len(frames.images)), frames.images, sampling))
        refused: Future[Completion] = Future()
        refused.set_exception(PromptRefused("none of its frames can be read."))
        return refused

    with reading(plan.tasks, ahead=parameters.parallel_prompts) as frames_of_tasks:
        for (index, frames), future in sliding_window(enumerate(frames_of_tasks), submit, parameters.parallel_prompts):
            notes = warnings.setdefault(index, [])
            if frames.unread:
                notes.append(_unread(frames))
            try:
                captions[index] = Caption(frames.task, frames.instants, future.result())
            except PromptRefused as error:
                failures += 1
                notes.append(not_captioned([frames.task.time_frame], str(error)))
            report_progress(len(captions), len(plan.tasks))

    told = plan.warnings + [note for index in sorted(warnings) for note in warnings[index]]
    if failures and not captions:
        raise CaptioningFailed(f"None of the TimeFrames could be captioned. {' '.join(told)}")
    return Outcome([captions[index] for index in sorted(captions)], told)


def _unread(frames: Frames) -> str:
    times = ", ".join(str(ms) for ms in frames.unread)
    return (
        f"TimeFrame {frames.task.time_frame}: no picture can be read at {times} ms of {frames.task.document}; "
        "left out. The file may be shorter than its annotations say, truncated or damaged."
    )
