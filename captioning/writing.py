"""Captions into a view."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmif import AnnotationTypes, DocumentTypes, View

from captioning.plan import Task
from engine.request import Completion
from sampling.timepoints import Instant


@dataclass(frozen=True)
class Caption:
    """
    The caption of one task.

    :param instants: the instants of the frames that the model saw, in frame order
    """

    task: Task
    instants: Sequence[Instant]
    completion: Completion


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
        text.add_property("document", document)
        text.add_property("origins", origins)
        text.add_property("origination", "derived")
        for name, value in _marks(caption.completion).items():
            text.add_property(name, value)
        view.new_annotation(AnnotationTypes.Alignment, source=caption.task.time_frame, target=text.id)


def _marks(completion: Completion) -> dict[str, str | int]:
    """What a reader should know of a caption that came about otherwise than asked for; mostly nothing."""
    marks: dict[str, str | int] = {}
    if completion.finish_reason == "length":
        marks["finishReason"] = "length"
    if (fit := completion.fit) is not None:
        if fit.longest_edge < fit.wanted_edge:
            marks["longestEdge"] = fit.longest_edge
        if fit.max_new_tokens < fit.wanted_tokens:
            marks["maxNewTokens"] = fit.max_new_tokens
    return marks


def _time_point(view: View, document: str, ms: int, made: dict[tuple[str, int], str]) -> str:
    if not made:
        view.new_contain(AnnotationTypes.TimePoint, timeUnit="milliseconds")
    if (document, ms) not in made:
        made[document, ms] = view.new_annotation(AnnotationTypes.TimePoint, document=document, timePoint=ms).id
    return made[document, ms]
