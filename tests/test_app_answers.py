"""What a caller may ask of the captions' form, over the app's door, and what the record says of it."""

import json
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient

from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from demo.cards import KINDS, Card, draw_card
from sampling import schema
from tests.captions import caption_views, captions, error, marks, warnings, without_times
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


CARD = {
    "type": "object",
    "properties": {"kind": {"enum": list(KINDS)}, "number": {"type": "string", "pattern": "^[0-9]{4}$"}},
    "required": ["kind", "number"],
}


def records(mmif: str) -> list[Any]:
    return [json.loads(caption.text) for caption in captions(mmif)]


@pytest.mark.parametrize("parallel", [1, 8])
def test_captions_are_json_of_a_schema_that_is_given(post: Post, slates: str, parallel: int) -> None:
    answer = post(slates, outputSchema=json.dumps(CARD), parallelPrompts=parallel)
    for record in records(answer):
        jsonschema.validate(record, CARD)
    assert {str(mark) for mark in marks(answer)} == {str({"mime": "application/json"})}
    assert [caption.time_frame for caption in captions(answer)] == [c.time_frame for c in captions(post(slates))]


@pytest.mark.parametrize("mode", ["turn-taking", "user-only"])
def test_in_both_prompt_modes(post: Post, slates: str, mode: str) -> None:
    prompts = ["What?", "A card.", "Now as JSON."] if mode == "turn-taking" else ["What?", "Now as JSON."]
    answer = post(slates, outputSchema=json.dumps(CARD), prompt=prompts, promptMode=mode)
    assert records(answer)
    for record in records(answer):
        jsonschema.validate(record, CARD)


def test_a_shipped_schema_brings_its_prompt_and_is_recorded_whole(post: Post, slates: str) -> None:
    answer = post(slates, outputSchema="slate")
    (view,) = caption_views(answer)
    assert view.metadata.parameters["outputSchema"] == "slate"
    schema = json.loads(view.metadata.appConfiguration["outputSchema"])
    assert schema["title"] == "Slate"
    (prompt,) = view.metadata.appConfiguration["prompt"]
    assert "production slate" in prompt
    assert "prompt" not in view.metadata.parameters
    for mark, caption in zip(marks(answer), captions(answer), strict=True):
        if mark == {"mime": "application/json"}:
            jsonschema.validate(json.loads(caption.text), schema)
        else:
            assert mark == {"finishReason": "length"}
    own = post(slates, outputSchema="slate", prompt="Mine.")
    assert caption_views(own)[0].metadata.appConfiguration["prompt"] == ["Mine."]


def test_a_schema_is_checked_and_translated_once(post: Post, slates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = schema._check_grammar
    monkeypatch.setattr(schema, "_check_grammar", lambda grammar: (checked.append(grammar), check(grammar)))
    own = json.dumps(CARD | {"title": "to be seen once"})
    answers = [post(slates, outputSchema=own, parallelPrompts=4) for _ in range(2)]
    assert len(records(answers[0])) > 2
    assert records(answers[0]) == records(answers[1])
    assert checked == [schema.Schema.of(own).grammar]


def test_json_that_is_cut_is_not_passed_off_as_json(post: Post, slates: str) -> None:
    answer = post(slates, outputSchema=json.dumps(CARD), maxNewTokens=6)
    assert {str(mark) for mark in marks(answer)} == {str({"finishReason": "length"})}
    for caption in captions(answer):
        assert any(
            caption.time_frame in said and "JSON is incomplete, since maxNewTokens was reached" in said
            for said in warnings(answer)
        )


def test_an_envelope_may_bring_it(client: FlaskClient, slates: str) -> None:
    body = {"parameters": {"outputSchema": json.dumps(CARD)}, "mmif": json.loads(slates)}
    for record in records(client.put("/", data=json.dumps(body)).text):
        jsonschema.validate(record, CARD)
    as_object = {"parameters": {"outputSchema": CARD}, "mmif": json.loads(slates)}
    assert "In an envelope, give it as a string" in error(client.put("/", data=json.dumps(as_object)).text)


def test_a_schema_that_can_not_be_enforced_is_refused_with_its_place(post: Post, slates: str) -> None:
    wrong = CARD | {"properties": CARD["properties"] | {"kind": {"type": "string", "format": "card"}}}
    assert "outputSchema" in error(post(slates, 500, outputSchema=json.dumps(wrong)))
    assert "at /properties/kind/format: must be one of" in error(post(slates, 500, outputSchema=json.dumps(wrong)))


def test_captions_are_one_of_the_choices(post: Post, broadcast: Broadcast) -> None:
    mmif = swt_mmif(broadcast)
    shown = [caption.text.split()[0] for caption in captions(post(mmif, parallelPrompts=8))]
    answer = post(mmif, outputChoices=list(KINDS), parallelPrompts=8, maxNewTokens=1)
    assert [caption.text for caption in captions(answer)] == shown
    assert set(map(str, marks(answer))) == {"{}"}
    assert warnings(answer) == []


def test_choices_come_with_their_probabilities(post: Post, slates: str) -> None:
    answer = post(slates, outputChoices=list(KINDS), captionConfidence="true")
    for mark, caption in zip(marks(answer), captions(answer), strict=True):
        assert set(mark) == {"confidence", "choiceProbabilities", "anyChoiceProbability"}
        assert set(mark["choiceProbabilities"]) == set(KINDS)
        assert sum(mark["choiceProbabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert mark["confidence"] == mark["choiceProbabilities"][caption.text] > 0.9
        assert mark["anyChoiceProbability"] > 0.9


@pytest.mark.parametrize("choices", [["slate"], ["slate", "slate"], ["slate", ""]])
def test_choices_that_are_none_are_refused(post: Post, slates: str, choices: list[str]) -> None:
    assert "outputChoices" in error(post(slates, 500, outputChoices=choices))


def test_generate_takes_a_form_too(captioner: SmolVLM2Captioner) -> None:
    frame = draw_card(Card("slate", "blue", 12), (640, 480))
    (text,) = captioner.generate(["Describe."], images=[[frame]], outputSchema=json.dumps(CARD))
    jsonschema.validate(json.loads(text), CARD)
    assert captioner.generate(["Describe."], images=[[frame]], outputChoices=["slate", "bars"]) == ["slate"]
    with pytest.raises(ValueError, match="captionConfidence needs more"):
        captioner.generate(["Describe."], images=[[frame]], captionConfidence=True)
