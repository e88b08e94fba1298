"""One call, from its plan to its captions."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from captioning.frames import Frames, read
from captioning.parameters import Parameters
from captioning.plan import Plan, Task, not_captioned
from captioning.window import sliding_window
from captioning.writing import Caption
from engine.context import Fit
from engine.conversation import Clip, Message
from engine.errors import PromptRefused
from engine.request import Completion, Request
from sampling.video import ByteBudget

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
    budget: ByteBudget,
    report_progress: Callable[[int, int], None],
) -> Outcome:
    """
    Caption the tasks of ``plan``, ``parameters.parallel_prompts`` at a time.

    :param conversation: makes the chat messages of each generation for a number of frames
    :param budget: bytes that decoded frames may hold
    :param report_progress: is told how many of how many tasks are done
    :raises CaptioningFailed: if there were TimeFrames to caption and all failed
    :raises EngineDied: if the engine went away meanwhile
    """
    captions: dict[int, Caption] = {}
    notes: list[tuple[int, str]] = []
    refused: dict[str, list[int]] = {}

    def submit(frames: Frames) -> "Future[Completion]":
        if frames.images:
            future = engine.submit(_request(frames, parameters, conversation))
        else:
            future = Future()
            future.set_exception(PromptRefused(frames.trouble or "none of its frames can be read."))
        # Not when the result is looked at: the reader may need these bytes for the very frames waited for then.
        future.add_done_callback(lambda _: frames.release())
        return future

    report_progress(0, len(plan.tasks))
    with contextlib.closing(read(plan.tasks, budget)) as frames_of_tasks:
        finished = sliding_window(frames_of_tasks, submit, parameters.parallel_prompts)
        for done, (frames, future) in enumerate(finished, start=1):
            if frames.unread and frames.group is not None:
                notes.append((frames.index, _unread(frames)))
            try:
                completion = future.result()
                captions[frames.index] = Caption(frames.task, frames.instants, completion)
                said = fit_notes(_name(frames.task), len(frames.images), completion.fit)
                notes.extend((frames.index, note) for note in said)
            except PromptRefused as error:
                refused.setdefault(str(error), []).append(frames.index)
            report_progress(done, len(plan.tasks))

    for reason, indices in refused.items():
        time_frames = [plan.tasks[index].time_frame for index in sorted(indices)]
        notes.append((min(indices), not_captioned(list(dict.fromkeys(time_frames)), reason)))
    told = plan.warnings + [note for _, note in sorted(notes, key=lambda note: note[0])]
    if (refused or plan.failures) and not captions:
        raise CaptioningFailed(f"None of the TimeFrames could be captioned. {' '.join(told)}")
    return Outcome([captions[index] for index in sorted(captions)], told)


def fit_notes(name: str, frames: int, fit: Fit | None) -> list[str]:
    """Word the warnings about a prompt of so many frames that had to be made to fit."""
    notes = []
    if fit is not None and fit.longest_edge < fit.wanted_edge:
        notes.append(
            f"{name}: its {frames} frames were shrunk from {fit.wanted_edge} to {fit.longest_edge} px to fit into the "
            "model's context. A smaller maxImagesPerPrompt keeps more detail."
        )
    if fit is not None and fit.max_new_tokens < fit.wanted_tokens:
        notes.append(
            f"{name}: maxNewTokens was reduced from {fit.wanted_tokens} to {fit.max_new_tokens}, the room that its "
            "prompt leaves in the model's context."
        )
    return notes


def _request(frames: Frames, parameters: Parameters, conversation: Conversation) -> Request:
    task, framing = frames.task, parameters.framing
    start, end = task.span
    times = tuple(max(0.0, round(ms - start, 3)) for ms in frames.times)  # wording cuts 1999.9999999 ms off to 1 s
    return Request(
        conversation(len(frames.images)),
        frames.images,
        parameters.decoding.sampling_params(task.time_frame, task.part),
        longest_edge=framing.longest_edge,
        overflow=framing.overflow,
        clip=Clip(times, max(end - start, *times)) if framing.format == "video" else None,
    )


def _name(task: Task) -> str:
    part = f" (part {task.part + 1})" if task.part else ""
    return f"TimeFrame {task.time_frame}{part}"


def _unread(frames: Frames) -> str:
    times = ", ".join(str(ms) for ms in frames.unread)
    said = f" (the decoder said: {frames.trouble})" if frames.trouble else ""
    return (
        f"TimeFrame {frames.task.time_frame}: no picture can be read at {times} ms of {frames.task.document}; "
        f"left out. The file may be shorter than its annotations say, truncated or damaged{said}."
    )
