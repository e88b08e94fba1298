"""What a TextDocument says of how its caption came about."""

from pathlib import Path
from typing import Any

import pytest
from mmif import AnnotationTypes, DocumentTypes, Mmif

from captioning.plan import Task
from captioning.writing import Caption, write
from engine.choosing import Odds
from engine.confidence import Confidence
from engine.context import Fit
from engine.request import Completion, FinishReason
from sampling.timepoints import Instant
from tests.captions import MARKS

EMPTY = '{"metadata": {"mmif": "http://mmif.clams.ai/1.2.0"}, "documents": [], "views": []}'


def written(completion: Completion, mime: str = "") -> dict[str, Any]:
    mmif = Mmif(EMPTY)
    segments, view = mmif.new_view(), mmif.new_view()
    segments.metadata.app = view.metadata.app = "http://apps.clams.ai/smolvlm2-captioner/v1"
    segments.new_annotation(AnnotationTypes.TimeFrame, "tf_1")
    write(view, [Caption(Task("v_0:tf_1", "d1", Path("a.mp4"), (), (0, 1)), (), completion, mime)])
    (text,) = Mmif(mmif.serialize())[view.id].get_annotations(DocumentTypes.TextDocument)
    assert text.text_value == completion.text
    return {name: value for name in MARKS if (value := text.get_property(name)) not in (None, "")}


@pytest.mark.parametrize(
    ("reason", "mark"),
    [("stop", {}), ("length", {"finishReason": "length"}), ("repetition", {"finishReason": "repetition"})],
)
def test_how_a_caption_ended_is_said_where_it_is_not_as_usual(reason: FinishReason, mark: dict[str, Any]) -> None:
    assert written(Completion("slate", reason, 1, 1)) == mark


def test_what_had_to_be_made_to_fit_says_so() -> None:
    assert written(Completion("slate", "stop", 1, 1, Fit(768, 1536, 200, 200, 900))) == {"longestEdge": 768}
    assert written(Completion("slate", "stop", 1, 1, Fit(384, 384, 90, 200, 900))) == {"maxNewTokens": 90}
    assert written(Completion("slate", "stop", 1, 1, Fit(384, 384, 200, 200, 900))) == {}


def test_frames_that_no_time_point_stands_for_get_one_each() -> None:
    mmif = Mmif(EMPTY)
    segments, view = mmif.new_view(), mmif.new_view()
    segments.metadata.app = view.metadata.app = "http://apps.clams.ai/smolvlm2-captioner/v1"
    segments.new_annotation(AnnotationTypes.TimeFrame, "tf_1")
    segments.new_annotation(AnnotationTypes.TimePoint, "tp_1", timePoint=80)
    task = Task("v_0:tf_1", "d1", Path("a.mp4"), (), (0, 1))
    instants = [Instant(40), Instant(80, "v_0:tp_1"), Instant(120)]
    shown = Completion("slate", "stop", 1, 1)
    write(view, [Caption(task, instants, shown), Caption(task, instants[:1], shown)])
    made = [point.get_property("timePoint") for point in view.get_annotations(AnnotationTypes.TimePoint)]
    assert made == [40, 120]
    texts = [text.get_property("origins") for text in view.get_annotations(DocumentTypes.TextDocument)]
    first, second = [point.id for point in view.get_annotations(AnnotationTypes.TimePoint)]
    assert texts == [[first, "v_0:tp_1", second], [first]]


def test_confidence_is_said_in_digits_that_mean_something() -> None:
    completion = Completion("slate", "stop", 1, 1, confidence=Confidence(0.87654321, 0.000123456))
    assert written(completion) == {"confidence": 0.8765, "lowestTokenProbability": 0.0001235}


def test_of_a_choice_the_odds_are_said() -> None:
    completion = Completion("slate", "stop", 1, 1, odds=Odds({"slate": 0.9, "chyron": 0.1}, 0.25))
    assert written(completion) == {
        "confidence": 0.9,
        "choiceProbabilities": {"slate": 0.9, "chyron": 0.1},
        "anyChoiceProbability": 0.25,
    }


def test_json_says_what_it_is() -> None:
    assert written(Completion("{}", "stop", 1, 1), "application/json") == {"mime": "application/json"}
