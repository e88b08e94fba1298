"""One call, from its plan to its captions."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from captioning.form import Form
from captioning.frames import Frames, read
from captioning.notes import Unread, cut_notes, fit_notes, name_of, none_readable, parts_note, unread_note
from captioning.parameters import Parameters
from captioning.plan import Plan, Task, not_captioned
from captioning.running import Reason, RunningCall
from captioning.warning import CaptionWarning, Cause
from captioning.window import all_done, sliding_window
from captioning.writing import Caption
from engine.conversation import Clip, Message
from engine.errors import PromptRefused
from engine.request import Completion, Request
from sampling.video import ByteBudget

Conversation = Callable[[int], list[list[Message]]]
CheckFrames = Callable[[Request, int], None]

# So many frames any prompt may ask for: reading them is bounded, and the engine, which knows their sizes, says more.
_FEW_FRAMES = 20
_BLANK = Image.new("RGB", (1, 1))


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

    def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
        """Put requests over the same frames in flight, each when the model has read the one before."""

    def cancel(self) -> None:
        """Take back what is in flight, and let nothing in any more."""


@dataclass(frozen=True)
class Work:
    """
    What one pass has to do. Most calls have one; of several, each asks something else.

    :param plan: of which TimeFrames
    :param parameters: what is asked, and how
    :param conversation: makes the chat messages of each generation for a number of frames
    """

    plan: Plan
    parameters: Parameters
    conversation: Conversation


@dataclass(frozen=True)
class Outcome:
    """
    What a pass has come to.

    :param plan: what was to be done
    :param captions: in the order of the plan's tasks
    :param warnings: what the caller should know, in the order of the plan's tasks
    :param failure: what is said if there were TimeFrames to caption and all failed; otherwise empty
    """

    plan: Plan
    captions: list[Caption]
    warnings: list[CaptionWarning]
    failure: str = ""

    def check(self) -> None:
        """:raises CaptioningFailed: if it failed"""
        if self.failure:
            raise CaptioningFailed(self.failure)


def run(
    works: Sequence[Work],
    engine: TakesPrompts,
    budget: ByteBudget,
    report_progress: Callable[[int, int], None],
    running: RunningCall,
    *,
    window: int,
    check_frames: CheckFrames = lambda request, frames: None,
) -> list[Outcome]:
    """
    Do the work of all passes. Frames that several of them want are read once, and held until the last is done.

    :param engine: left without a prompt of this call, whatever the outcome
    :param budget: bytes that decoded frames may hold
    :param report_progress: is told how many of how many prompts are done
    :param running: is kept up to date, and obeyed; whoever calls has its clock watched
    :param window: how many sets of frames may be in flight at once, each with the prompts of all passes
    :param check_frames: raises PromptRefused if a request, given with two frames, could not have so many; they are not
        read then: no budget bounds a single set of frames
    :returns: the outcome of each pass
    :raises CallCancelled: if ``running`` was cancelled, but not by its deadline
    :raises EngineDied: if the engine went away meanwhile
    """
    results = [_Results(work.plan, work.parameters.form) for work in works]
    asking = _by_frames(works, results, check_frames)
    wanted = list(asking)

    def submit(frames: Frames) -> "Future[list[Future[Completion]]]":
        askers = [works[number] for number, _ in asking[frames.task]]
        futures = _submit(frames, askers, engine)
        done = all_done(futures)
        if (hold := frames.hold) is not None:  # and nothing else: a future keeps its callbacks, and so what they know
            # Not when the results are looked at: the reader may need these bytes for the very frames waited for then.
            done.add_done_callback(lambda _: hold.release())
        running.submitted += len(futures)
        running.frames += len(frames.images)
        return done

    running.total = sum(len(work.plan.tasks) for work in works)
    running.done = running.submitted = sum(result.done for result in results)
    running.engine = engine
    report_progress(running.done, running.total)
    try:
        with (
            contextlib.closing(read(wanted, budget, running)) as frames_of_tasks,
            running.on_cancel(engine.cancel),
        ):
            for frames, done in sliding_window(frames_of_tasks, submit, window):
                for (number, index), future in zip(asking[frames.task], done.result()):
                    if future.cancelled() and running.reason:
                        continue
                    results[number].add(index, frames, future)
                running.done = sum(result.done for result in results)
                running.captions = sum(len(result.captions) for result in results)
                report_progress(running.done, running.total)
    finally:
        engine.cancel()  # what is still in flight when the call fails is nobody's any more
    return _outcomes(results, running)


def _by_frames(
    works: Sequence[Work], results: "Sequence[_Results]", check_frames: CheckFrames
) -> dict[Task, list[tuple[int, int]]]:
    """Map each set of frames to who wants it and can have it: the numbers of a work and of a task in its plan."""
    asking: dict[Task, list[tuple[int, int]]] = {}
    for number, work in enumerate(works):
        for index, task in enumerate(work.plan.tasks):
            try:
                _check(task, work, check_frames)
            except PromptRefused as error:
                results[number].refuse(index, str(error), Cause.REFUSED)
            else:
                asking.setdefault(task, []).append((number, index))
    return asking


def _check(task: Task, work: Work, check_frames: CheckFrames) -> None:
    if len(task.instants) <= _FEW_FRAMES:
        return
    two = task.instants[-2:]
    frames = Frames(0, task, (_BLANK,) * 2, two, tuple(float(instant.ms) for instant in two), ())
    check_frames(_request(frames, work.parameters, work.conversation), len(task.instants))


def _submit(frames: Frames, askers: Sequence[Work], engine: TakesPrompts) -> "list[Future[Completion]]":
    if frames.images:
        return engine.submit_in_turn([_request(frames, work.parameters, work.conversation) for work in askers])
    refused: Future[Completion] = Future()
    refused.set_exception(PromptRefused(frames.trouble if frames.group is None else none_readable(frames.trouble)))
    return [refused] * len(askers)


class _Results:
    """What has become of the tasks of a plan."""

    def __init__(self, plan: Plan, form: Form) -> None:
        self._plan = plan
        self._form = form
        self._left = set(range(len(plan.tasks)))
        self._notes: list[tuple[int, CaptionWarning]] = []
        self._unread: dict[str, list[Unread]] = {}  # by TimeFrame
        self._refused: dict[int, tuple[str, Cause]] = {}
        self.captions: dict[int, Caption] = {}

    @property
    def done(self) -> int:
        return len(self._plan.tasks) - len(self._left)

    def add(self, index: int, frames: Frames, future: "Future[Completion]") -> None:
        """:raises EngineDied: if that is what the task has come to"""
        if frames.unread and frames.images:
            unread = Unread(index, frames.task.document, frames.unread, frames.trouble)
            self._unread.setdefault(frames.task.time_frame, []).append(unread)
        refusal = future.exception()  # raised here, it would keep the frames for as long as somebody knows it
        if refusal is None:
            refusal = self._take(index, frames, future.result())
        elif not isinstance(refusal, PromptRefused):
            raise refusal
        if refusal is not None:
            self.refuse(index, str(refusal), _cause(frames))
        else:
            self._left.remove(index)

    def refuse(self, index: int, reason: str, cause: Cause) -> None:
        """Note that a task comes to nothing."""
        self._refused[index] = reason, cause
        self._left.remove(index)

    def _take(self, index: int, frames: Frames, completion: Completion) -> PromptRefused | None:
        """Make a caption of a completion, or say why it is none."""
        try:
            mime = self._form.mime(completion)
        except PromptRefused as error:
            return error.with_traceback(None)
        self.captions[index] = Caption(frames.task, frames.instants, completion, mime)
        name, time_frames = name_of(frames.task), [frames.task.time_frame]
        said = fit_notes(name, len(frames.images), completion.fit, time_frames)
        said += cut_notes(name, self._form, completion, time_frames)
        self._notes.extend((index, note) for note in said)
        return None

    def give_up(self, reason: str, cause: Cause) -> None:
        """Note that what is left will not be done."""
        self._refused |= dict.fromkeys(self._left, (reason, cause))

    def outcome(self) -> Outcome:
        captioned = {caption.task.time_frame for caption in self.captions.values()}
        notes = list(self._notes)
        for time_frame, unread in self._unread.items():
            if time_frame in captioned:  # otherwise it has a warning that says more
                notes.append((min(part.index for part in unread), unread_note(time_frame, unread)))
        notes.extend(self._not_captioned(captioned))
        told = self._plan.warnings + [note for _, note in sorted(notes, key=lambda note: note[0])]
        failed = bool(self._refused or self._plan.failures) and not self.captions
        return Outcome(
            plan=self._plan,
            captions=[self.captions[index] for index in sorted(self.captions)],
            warnings=told,
            failure=f"None of the TimeFrames could be captioned. {' '.join(map(str, told))}" if failed else "",
        )

    def _not_captioned(self, captioned: Set[str]) -> Iterator[tuple[int, CaptionWarning]]:
        """Word one warning for each TimeFrame without a caption, or for several alike; of others, name the parts."""
        tasks = self._plan.tasks
        parts = Counter(task.time_frame for task in tasks)
        by_time_frame: dict[str, dict[tuple[str, Cause], list[int]]] = {}
        for index, refusal in sorted(self._refused.items()):
            by_time_frame.setdefault(tasks[index].time_frame, {}).setdefault(refusal, []).append(index)
        alike: dict[tuple[str, Cause], list[int]] = {}
        for time_frame, refusals in by_time_frame.items():
            if time_frame in captioned:
                for (reason, cause), indices in refusals.items():
                    numbers = [tasks[index].part + 1 for index in indices]
                    yield indices[0], parts_note(time_frame, numbers, parts[time_frame], reason, cause)
            else:
                first, *others = refusals
                whole = " ".join([first[0], *(reason[:1].upper() + reason[1:] for reason, _ in others)])
                alike.setdefault((whole, first[1]), []).append(refusals[first][0])
        for (reason, cause), indices in alike.items():
            yield indices[0], not_captioned([tasks[index].time_frame for index in indices], reason, cause)


def _outcomes(results: Sequence[_Results], running: RunningCall) -> list[Outcome]:
    """
    Conclude, with what is done where the call's time was over.

    :raises CallCancelled: if nobody wants it
    """
    running.check()
    if running.reason is Reason.DEADLINE:
        for result in results:
            result.give_up(running.out_of_time, Cause.DEADLINE)
    outcomes = [result.outcome() for result in results]
    running.told = [warning for outcome in outcomes for warning in outcome.warnings]
    running.warnings.update(warning.cause for warning in running.told)
    return outcomes


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
        grammar=parameters.form.grammar,
        choices=parameters.form.choices,
    )


def _cause(frames: Frames) -> Cause:
    if frames.images:
        return Cause.REFUSED
    return Cause.UNREADABLE_VIDEO if frames.group is None else Cause.UNREADABLE_FRAMES
