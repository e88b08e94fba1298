"""What is said of prompts that did not go as they were asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from captioning.form import Form
from captioning.plan import Task
from captioning.warning import CaptionWarning, Cause
from engine.context import Fit
from engine.request import Completion

_MOST_LISTED = 5  # as many as the SDK lists


@dataclass(frozen=True)
class Unread:
    """
    What can't be read of one prompt that has other frames.

    :param index: position of the task in the plan
    :param document: id of the video's document
    :param times: the instants that there is no picture for, in ms
    :param trouble: what the decoder ran into; empty if nothing
    """

    index: int
    document: str
    times: tuple[int, ...]
    trouble: str


def name_of(task: Task) -> str:
    """Name a prompt as warnings do."""
    part = f" (part {task.part + 1})" if task.part else ""
    return f"TimeFrame {task.time_frame}{part}"


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


def cut_notes(name: str, form: Form, completion: Completion, time_frames: Sequence[str] = ()) -> list[CaptionWarning]:
    """Word the warning about a completion that is not the whole of what its form asks for."""
    cut = form.cut(completion)
    return [CaptionWarning(f"{name}: {cut}", Cause.CUT, time_frames)] if cut else []


def none_readable(trouble: str) -> str:
    """Say why a prompt without frames is none, where the file could be opened."""
    return f"none of its frames can be read. {_damaged([trouble])}"


def unread_note(time_frame: str, parts: Sequence[Unread]) -> CaptionWarning:
    """Word the warning about the frames that all prompts of one TimeFrame go without."""
    times = _listed(sorted({ms for part in parts for ms in part.times}), "instants")
    return CaptionWarning(
        f"TimeFrame {time_frame}: no picture can be read at {times} ms of {parts[0].document}; left out. "
        f"{_damaged(part.trouble for part in sorted(parts, key=lambda part: part.index))}",
        Cause.UNREADABLE_FRAMES,
        [time_frame],
    )


def parts_note(time_frame: str, numbers: Sequence[int], count: int, reason: str, cause: Cause) -> CaptionWarning:
    """
    Word the warning that a TimeFrame has no caption for some of its prompts.

    :param numbers: which of them, in order and from 1
    :param count: how many it has
    """
    many = f"parts {_listed(numbers, 'of them')} of {count} were"
    said = f"part {numbers[0]} of {count} was" if len(numbers) == 1 else many
    return CaptionWarning(f"TimeFrame {time_frame}: {said} not captioned: {reason}", cause, [time_frame])


def _damaged(troubles: Iterable[str]) -> str:
    told = "; ".join(dict.fromkeys(trouble for trouble in troubles if trouble))
    said = f" (the decoder said: {told})" if told else ""
    return f"The file may be shorter than its annotations say, truncated or damaged{said}."


def _listed(values: Sequence[int], kind: str) -> str:
    if len(values) <= _MOST_LISTED:
        return ", ".join(map(str, values))
    return f"{len(values)} {kind} between {values[0]} and {values[-1]}"
