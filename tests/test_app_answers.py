"""What a caller may ask of the captions' form, over the app's door, and what the record says of it."""

import pytest

from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.captions import captions, error, marks, without_times
from tests.conftest import Post


@pytest.fixture(scope="module")
def slates(broadcast: Broadcast) -> str:
    return swt_mmif(broadcast, labels=["slate"])


def test_by_default_nothing_is_said_and_nothing_is_different(post: Post, slates: str, broadcast: Broadcast) -> None:
    answer = post(slates)
    assert set(map(str, marks(answer))) == {"{}"}
    assert [caption.text for caption in captions(answer)] == [
        broadcast.expected_caption(caption.times) for caption in captions(answer)
    ]
    named = post(slates, captionConfidence="false", repetitionPenalty=1, repetitionGuard="false")
    assert without_times(named) == without_times(answer)


def test_confidence_is_on_each_caption_and_changes_none(post: Post, slates: str) -> None:
    answer = post(slates, captionConfidence="true", parallelPrompts=4)
    assert [caption.text for caption in captions(answer)] == [caption.text for caption in captions(post(slates))]
    for mark in marks(answer):
        assert set(mark) == {"confidence", "lowestTokenProbability"}
        assert 0 < mark["lowestTokenProbability"] <= mark["confidence"] <= 1
        assert mark["confidence"] == float(f"{mark['confidence']:.4g}")


def test_captions_that_were_drawn_against_the_odds_sort_below_the_others(post: Post, slates: str) -> None:
    sure = marks(post(slates, captionConfidence="true"))
    drawn = marks(post(slates, captionConfidence="true", temperature=2, topK=0, seed=1))
    assert min(mark["confidence"] for mark in drawn) < 0.9 < min(mark["confidence"] for mark in sure)


def test_a_cut_caption_has_both_marks(post: Post, slates: str) -> None:
    for mark in marks(post(slates, captionConfidence="true", maxNewTokens=3)):
        assert set(mark) == {"finishReason", "confidence", "lowestTokenProbability"}
        assert mark["finishReason"] == "length"


def test_the_guard_leaves_a_caption_that_does_not_alone(post: Post, slates: str) -> None:
    assert without_times(post(slates, repetitionGuard="true")) == without_times(post(slates))


@pytest.mark.parametrize("value", ["0", "-1", "3", "nan", "inf", "much"])
def test_a_penalty_that_is_none_is_refused(post: Post, slates: str, value: str) -> None:
    assert "repetitionPenalty" in error(post(slates, 500, repetitionPenalty=value))
