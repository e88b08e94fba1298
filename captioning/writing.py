"""Captions into a view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmif import AnnotationTypes, DocumentTypes, View

from captioning.plan import Task
from engine.request import Completion
from sampling.timepoints import Instant

_PROBABILITY_DIGITS = 4


@dataclass(frozen=True)
class Caption:
    """
    The caption of one task.

    :param instants: the instants of the frames that the model saw, in frame order
    :param mime: media type of the text, where it has a form
    """

    task: Task
    instants: Sequence[Instant]
    completion: Completion
    mime: str = ""


def write(view: View, captions: Sequence[Caption]) -> None:
    """
    Add to ``view``, in the order given, a TextDocument and its Alignment for each caption, and before them a TimePoint
    for each frame that none stands for yet.
    """
    view.new_contain(DocumentTypes.TextDocument)
    view.new_contain(AnnotationTypes.Alignment)
    made: dict[tuple[str, int], str] = {}
    for caption in captions:
        document = caption.task.document
        origins = [instant.time_point or _time_point(view, document, instant.ms, made) for instant in caption.instants]
        text = view.new_textdocument(text=caption.completion.text)
        if caption.mime:
            text.properties.mime = caption.mime
        # Not by add_property(), which has mmif-python look for a place for them when the MMIF is made into text.
        about = {"document": document, "origins": origins, "origination": "derived", **_marks(caption.completion)}
        for name, value in about.items():
            text.properties[name] = value
        view.new_annotation(AnnotationTypes.Alignment, source=caption.task.time_frame, target=text.id)


def _marks(completion: Completion) -> dict[str, Any]:
    """What a reader should know of how a caption came about; nothing of one that is as usual."""
    marks: dict[str, Any] = {}
    if completion.finish_reason != "stop":
        marks["finishReason"] = completion.finish_reason
    if (fit := completion.fit) is not None:
        if fit.longest_edge < fit.wanted_edge:
            marks["longestEdge"] = fit.longest_edge
        if fit.max_new_tokens < fit.wanted_tokens:
            marks["maxNewTokens"] = fit.max_new_tokens
    if completion.probability is not None:
        marks["confidence"] = _probability(completion.probability)
    if (confidence := completion.confidence) is not None:
        marks["lowestTokenProbability"] = _probability(confidence.lowest)
    if (odds := completion.odds) is not None:
        marks["choiceProbabilities"] = {choice: _probability(share) for choice, share in odds.shares.items()}
        marks["anyChoiceProbability"] = _probability(odds.total)
    return marks


def _probability(value: float) -> float:
    # What else the engine is busy with may change the digits beyond these.
    return float(f"{value:.{_PROBABILITY_DIGITS}g}")


def _time_point(view: View, document: str, ms: int, made: dict[tuple[str, int], str]) -> str:
    if not made:
        view.new_contain(AnnotationTypes.TimePoint, timeUnit="milliseconds")
    if (document, ms) not in made:
        made[document, ms] = view.new_annotation(AnnotationTypes.TimePoint, document=document, timePoint=ms).id
    return made[document, ms]
