"""The form of captions: what a caller may ask for, and what a completion comes to."""

import json
from typing import Any

import pytest

from captioning.form import Form, shipped, with_schema
from engine.errors import PromptRefused
from engine.request import Completion, FinishReason

NUMBER = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


def form(schema: str = "", choices: tuple[str, ...] = ()) -> Form:
    return Form.of({"outputSchema": schema, "outputChoices": list(choices)})


def completion(text: str, reason: FinishReason = "stop") -> Completion:
    return Completion(text, reason, prompt_tokens=1, completion_tokens=1)


def test_by_default_there_is_none() -> None:
    assert form() == Form()
    assert form().grammar == ""
    assert form().mime(completion("slate", "length")) == ""
    assert form().cut(completion("slate", "length")) == ""


def test_whole_json_says_what_it_is() -> None:
    assert form(NUMBER).mime(completion('{"n": 1}')) == "application/json"
    assert form(NUMBER).cut(completion('{"n": 1}')) == ""


@pytest.mark.parametrize(("reason", "why"), [("length", "maxNewTokens"), ("repetition", "circles")])
def test_cut_json_does_not_even_if_it_happens_to_be_valid(reason: FinishReason, why: str) -> None:
    for text in ('{"n": 1', '{"n": 1}'):
        assert form(NUMBER).mime(completion(text, reason)) == ""
        assert why in form(NUMBER).cut(completion(text, reason))


def test_what_claims_to_be_whole_and_is_not_valid_is_no_caption() -> None:
    with pytest.raises(PromptRefused, match="lost hold of outputSchema"):
        form(NUMBER).mime(completion('{"n": "1"}'))


def test_a_shipped_schema_brings_its_prompt_unless_there_is_one() -> None:
    assert shipped() == ("chyron", "credits", "slate")
    given = with_schema({"outputSchema": ["slate"], "topK": ["3"]})
    assert set(given) == {"outputSchema", "prompt", "maxNewTokens", "topK"}
    assert json.loads(given["outputSchema"][0])["title"] == "Slate"
    own = with_schema({"outputSchema": ["slate"], "prompt": ["Mine."], "maxNewTokens": ["9"]})
    assert (own["prompt"], own["maxNewTokens"]) == (["Mine."], ["9"])
    assert with_schema({"outputSchema": [NUMBER]}) == {"outputSchema": [NUMBER]}
    assert with_schema({"prompt": ["?"]}) == {"prompt": ["?"]}


def test_a_name_will_do_where_nothing_was_put_in_its_place() -> None:
    assert form("slate") == form(with_schema({"outputSchema": ["slate"]})["outputSchema"][0])


@pytest.mark.parametrize(
    ("schema", "choices", "said"),
    [
        ("slates", (), ['"outputSchema" must be one of chyron, credits, slate, or a JSON Schema', "not JSON"]),
        ('{"type": "object"}', (), ['"outputSchema"', "at its root: must name its properties"]),
        ('{"anyOf": [{"type": "string", "format": "uri"}]}', (), ["at /anyOf/0/format: must be one of date"]),
        (NUMBER, ("a", "b"), ['"outputChoices" must be left out where "outputSchema" is given']),
        ("", ("a",), ['"outputChoices" must be two texts or more; got one']),
        ("", ("a", " "), ["got an empty one"]),
        ("", ("a", "b", " a "), ['got "a" twice']),
        ("", tuple(map(str, range(101))), ["up to 100 texts; got 101"]),
        ("", ("a", "b" * 201), ["up to 200 characters"]),
        ("", ("a", "b\nc"), ["of one line"]),
    ],
)
def test_what_is_no_form_is_refused(schema: str, choices: tuple[str, ...], said: list[str]) -> None:
    with pytest.raises(ValueError, match="parameter") as refused:
        form(schema, choices)
    for part in said:
        assert part in str(refused.value)


def test_choices_are_taken_without_the_space_around_them() -> None:
    assert form(choices=(" slate", "chyron ")).choices == ("slate", "chyron")


def test_the_caption_of_a_form_reaches_the_request() -> None:
    from tests.captioning.test_framing import asked, frames

    request: Any = asked(frames(2000.0), outputSchema=NUMBER)
    assert request.grammar == form(NUMBER).grammar
    assert asked(frames(2000.0), outputChoices=["a", "b"]).choices == ("a", "b")
    assert (asked(frames(2000.0)).grammar, asked(frames(2000.0)).choices) == ("", ())
