"""One call, from its plan to its captions."""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from captioning.frames import Frames, read
from captioning.parameters import Parameters
from captioning.plan import Plan, Task, not_captioned
from captioning.running import Reason, RunningCall
from captioning.warning import CaptionWarning, Cause
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


class TakesPrompts(Protocol):
    """What a call needs of an engine; see :class:`engine.calls.EngineCall`."""

    @property
    def in_flight(self) -> int:
        """How many of the call's prompts are not done."""

    @property
    def generating(self) -> int:
        """How many of the call's prompts are in the model."""

    def submit(self, request: Request) -> "Future[Completion]":
        """Put a request in flight."""

    def cancel(self) -> None:
        """Take back what is in flight, and let nothing in any more."""


@dataclass(frozen=True)
class Outcome:
    """
    What a call has come to.

    :param captions: in the order of the plan's tasks
    :param warnings: what the caller should know, in the order of the plan's tasks
    """

    captions: list[Caption]
    warnings: list[CaptionWarning]


def run(
    plan: Plan,
    parameters: Parameters,
    conversation: Conversation,
    engine: TakesPrompts,
    budget: ByteBudget,
    report_progress: Callable[[int, int], None],
    running: RunningCall,
) -> Outcome:
    """
    Caption the tasks of ``plan``, ``parameters.parallel_prompts`` at a time.

    :param conversation: makes the chat messages of each generation for a number of frames
    :param engine: left without a prompt of this call, whatever the outcome
    :param budget: bytes that decoded frames may hold
    :param report_progress: is told how many of how many tasks are done
    :param running: is kept up to date, and obeyed
    :raises CaptioningFailed: if there were TimeFrames to caption and all failed
    :raises CallCancelled: if ``running`` was cancelled, but not by its deadline
    :raises EngineDied: if the engine went away meanwhile
    """
    results = _Results(plan)

    def submit(frames: Frames) -> "Future[Completion]":
        if frames.images:
            future = engine.submit(_request(frames, parameters, conversation))
        else:
            future = Future()
            future.set_exception(PromptRefused(frames.trouble or "none of its frames can be read."))
        # Not when the result is looked at: the reader may need these bytes for the very frames waited for then.
        future.add_done_callback(lambda _: frames.release())
        running.submitted += 1
        running.frames += len(frames.images)
        return future

    running.total = len(plan.tasks)
    running.engine = engine
    report_progress(0, running.total)
    try:
        with (
            contextlib.closing(read(plan.tasks, budget, running)) as frames_of_tasks,
            running.on_cancel(engine.cancel),
            running.watching_the_clock(),
        ):
            for frames, future in sliding_window(frames_of_tasks, submit, parameters.parallel_prompts):
                if future.cancelled() and running.reason:
                    continue
                results.add(frames, future)
                running.done, running.captions = results.done, len(results.captions)
                report_progress(running.done, running.total)
    finally:
        engine.cancel()  # what is still in flight when the call fails is nobody's any more
    running.check()
    if running.reason is Reason.DEADLINE:
        results.give_up(f"the call's time of {running.seconds} s was over before its turn was done.", Cause.DEADLINE)
    outcome = results.outcome()
    running.warnings.update(warning.cause for warning in outcome.warnings)
    running.told = outcome.warnings
    if results.failed:
        raise CaptioningFailed(f"None of the TimeFrames could be captioned. {' '.join(map(str, outcome.warnings))}")
    return outcome


class _Results:
    """What has become of the tasks of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left = set(range(len(plan.tasks)))
        self._notes: list[tuple[int, CaptionWarning]] = []
        self._refused: dict[tuple[str, Cause], list[int]] = {}
        self.captions: dict[int, Caption] = {}

    @property
    def done(self) -> int:
        return len(self._plan.tasks) - len(self._left)

    @property
    def failed(self) -> bool:
        return bool(self._refused or self._plan.failures) and not self.captions

    def add(self, frames: Frames, future: "Future[Completion]") -> None:
        """:raises EngineDied: if that is what the task has come to"""
        index = frames.index
        if frames.unread and frames.group is not None:
            self._notes.append((index, _unread(frames)))
        try:
            completion = future.result()
        except PromptRefused as error:
            self._refused.setdefault((str(error), _cause(frames)), []).append(index)
        else:
            self.captions[index] = Caption(frames.task, frames.instants, completion)
            said = fit_notes(_name(frames.task), len(frames.images), completion.fit, [frames.task.time_frame])
            self._notes.extend((index, note) for note in said)
        self._left.remove(index)

    def give_up(self, reason: str, cause: Cause) -> None:
        """Note that what is left will not be done."""
        if self._left:
            self._refused[reason, cause] = sorted(self._left)

    def outcome(self) -> Outcome:
        notes = list(self._notes)
        for (reason, cause), indices in self._refused.items():
            time_frames = [self._plan.tasks[index].time_frame for index in sorted(indices)]
            notes.append((min(indices), not_captioned(time_frames, reason, cause)))
        told = [note for _, note in sorted(notes, key=lambda note: note[0])]
        return Outcome([self.captions[index] for index in sorted(self.captions)], self._plan.warnings + told)


def fit_notes(name: str, frames: int, fit: Fit | None, time_frames: Sequence[str] = ()) -> list[CaptionWarning]:
    """Word the warnings about a prompt of so many frames that had to be made to fit."""
    notes = []
    if fit is not None and fit.longest_edge < fit.wanted_edge:
        text = (
            f"{name}: its {frames} frames were shrunk from {fit.wanted_edge} to {fit.longest_edge} px to fit into the "
            "model's context. A smaller maxImagesPerPrompt keeps more detail."
        )
        notes.append(CaptionWarning(text, Cause.SHRUNK, time_frames))
    if fit is not None and fit.max_new_tokens < fit.wanted_tokens:
        text = (
            f"{name}: maxNewTokens was reduced from {fit.wanted_tokens} to {fit.max_new_tokens}, the room that its "
            "prompt leaves in the model's context."
        )
        notes.append(CaptionWarning(text, Cause.REDUCED, time_frames))
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
        confidence=parameters.confidence,
    )


def _name(task: Task) -> str:
    part = f" (part {task.part + 1})" if task.part else ""
    return f"TimeFrame {task.time_frame}{part}"


def _cause(frames: Frames) -> Cause:
    if frames.images:
        return Cause.REFUSED
    return Cause.UNREADABLE_VIDEO if frames.group is None else Cause.UNREADABLE_FRAMES


def _unread(frames: Frames) -> CaptionWarning:
    times = ", ".join(str(ms) for ms in frames.unread)
    said = f" (the decoder said: {frames.trouble})" if frames.trouble else ""
    return CaptionWarning(
        f"TimeFrame {frames.task.time_frame}: no picture can be read at {times} ms of {frames.task.document}; "
        f"left out. The file may be shorter than its annotations say, truncated or damaged{said}.",
        Cause.UNREADABLE_FRAMES,
        [frames.task.time_frame],
    )
