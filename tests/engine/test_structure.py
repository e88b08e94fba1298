"""
Replies that are held to a form, on engines: the demonstration model, and random weights with the real tokenizer.

A few of each are asked for here, and with TEST_REPLIES as many as one likes (docs/development.md has the command).
"""

import json
import math
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.form import Form, shipped, with_schema
from demo.cards import KINDS, Card, draw_card
from demo.evaluate import held_out_frames
from demo.texts import DEFAULT_PROMPT
from engine.context import Context
from engine.conversation import answer_text
from engine.engine import Engine
from engine.errors import PromptRefused
from engine.generation import Generation
from engine.request import Request
from sampling.decoding import Decoding
from sampling.schema import Schema, SchemaRefused
from tests.reference import Transformers
from tests.sampling.test_schema import nested, schemas

MANY = int(os.environ.get("TEST_REPLIES", "0"))
REPLIES = MANY or 12  # of each engine under each shipped schema
HELD_OUT = MANY or 60  # frames, to be told apart by kind
MADE_UP = MANY or 120  # schemas, for each engine
FRAMES = [draw_card(Card("slate", "blue", 42), (640, 480)), draw_card(Card("chyron", "red", 137), (640, 480))]
HOT = {"temperature": 2.0, "top_k": 0}
YEAR = Schema.of(json.dumps({"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}))


def asked(decoding: Decoding, frames: int = 1, **more: Any) -> Request:
    parts = [{"type": "image"}] * frames + [{"type": "text", "text": "Describe."}]
    return Request([[{"role": "user", "content": parts}]], FRAMES[:frames], decoding.sampling_params(), **more)


@pytest.fixture(params=["demo", "real tokenizer"])
def either(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue("engine" if request.param == "demo" else "real")
    return engine


@pytest.mark.parametrize("name", shipped())
def test_every_hot_reply_under_a_shipped_schema_is_valid_or_cut(either: Engine, name: str) -> None:
    given_with = with_schema({"outputSchema": [name]})
    form = Form.of({"outputSchema": name, "outputChoices": []})
    call, most = either.open_call(), int(given_with["maxNewTokens"][0])
    requests = [asked(Decoding(most, seed=n, **HOT), frames=1 + n % 2, grammar=form.grammar) for n in range(REPLIES)]
    completions = [future.result() for future in [call.submit(made) for made in requests]]
    whole = [one for one in completions if form.mime(one)]
    assert all(form.schema and form.schema.accepts(one.text) for one in whole)
    assert all(one.finish_reason == "length" and form.cut(one) for one in completions if one not in whole)
    assert len({one.text for one in completions}) > 1  # some, such as an empty list, come more than once
    assert whole or name != "chyron"  # of the others, whole ones are rarer than the number of replies
    print(f"{name}: {len(whole)} of {REPLIES} whole and valid, the others cut at {most} tokens")


def test_a_reply_that_is_cut_says_so_and_is_not_taken_for_json(engine: Engine) -> None:
    form = Form(YEAR)
    completion = engine.submit(asked(Decoding(3), grammar=form.grammar)).result()
    assert completion.finish_reason == "length"
    assert (form.mime(completion), "maxNewTokens" in form.cut(completion)) == ("", True)
    whole = engine.submit(asked(Decoding(60), grammar=form.grammar)).result()
    assert form.mime(whole) == "application/json"


def test_of_several_turns_the_last_is_held_to_it(engine: Engine) -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    first = [{"role": "user", "content": parts}]
    second = [*first, {"role": "assistant", "content": None}, {"role": "user", "content": "The year?"}]
    sampling = Decoding(60).sampling_params()
    completion = engine.submit(Request([first, second], FRAMES[:1], sampling, grammar=YEAR.grammar)).result()
    assert YEAR.accepts(completion.text)
    fed_back = engine.submit(Request([first, second], FRAMES[:1], sampling)).result()
    assert completion.prompt_tokens == fed_back.prompt_tokens  # the first reply was not held to it


def test_many_at_once_with_and_without_a_form_do_not_mix(engine: Engine) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"grammar": YEAR.grammar},
        {"choices": KINDS, "confidence": True},
        {"confidence": True},
    ]

    def odd(number: int) -> Request:
        return asked(Decoding(40), **kinds[number % 4])

    alone = [engine.submit(odd(number)).result() for number in range(4)]
    together = [future.result() for future in [engine.submit(odd(number)) for number in range(32)]]
    for number, completion in enumerate(together):
        assert completion.text == alone[number % 4].text
        if (own := completion.confidence) is not None:
            assert own.mean == pytest.approx(alone[3].confidence.mean, rel=1e-3)  # type: ignore[union-attr]


def test_confidence_under_a_schema_is_a_share_of_what_it_allows(engine: Engine) -> None:
    forced = Schema.of('{"const": "slate"}')
    assert engine.submit(asked(Decoding(60), grammar=forced.grammar, confidence=True)).result().confidence
    free = Schema.of('{"enum": [1, 2]}')
    completion = engine.submit(asked(Decoding(60), grammar=free.grammar, confidence=True)).result()
    assert completion.confidence is not None
    assert 0.5 <= completion.confidence.lowest <= 1  # of two, the likelier


def test_schemas_that_are_made_up_are_enforced_or_refused_and_harm_nobody(either: Engine) -> None:
    deaths, came_to = either.deaths, Counter[str]()

    @settings(max_examples=MADE_UP, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(schemas(), st.integers(0, 2**32))
    def try_one(made: Any, seed: int) -> None:
        try:
            schema = Schema.of(json.dumps(made))
        except SchemaRefused as refused:
            assert refused.reason
            came_to["refused"] += 1
            return
        completion = either.submit(asked(Decoding(60, seed=seed, **HOT), grammar=schema.grammar)).result()
        assert completion.finish_reason == "length" or schema.accepts(completion.text)
        came_to["cut" if completion.finish_reason == "length" else "whole and valid"] += 1

    try_one()
    assert came_to["refused"]
    assert came_to["whole and valid"]
    assert either.deaths == deaths
    print(f"schemas made up: {dict(came_to)}")


def names_from(start: int, count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"name {n}": {"type": "null"} for n in range(start, start + count)}}


LARGEST = {
    "values": {"type": "array", "maxItems": 999, "items": {"type": "string", "maxLength": 2000}},
    "names": names_from(0, 400),
    "names of several": {"anyOf": [names_from(100 * start, 80) for start in range(5)]},
    "required names": {**names_from(0, 400), "required": [f"name {n}" for n in range(400)]},
    "levels": nested(9),
    "alternatives": {"anyOf": [{"type": "string", "minLength": n, "maxLength": 2000 - n} for n in range(20)]},
    "patterns": {"anyOf": [{"type": "string", "pattern": f"^.*{letter}.{{15}}$"} for letter in "abcde"]},
    "choices": {"enum": [f"{n} of them" for n in range(1100)]},
    "pattern": {"type": "string", "pattern": "^(.{0,9}a){24}$"},
    "wide pattern": {"type": "string", "pattern": "^(([a-f]|[e-k]|.b){1,9}x?){1,5}$"},
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_schemas_that_are_let_in_are_answered(real: Engine, name: str) -> None:
    schema, deaths = Schema.of(json.dumps(LARGEST[name])), real.deaths
    made = [asked(Decoding(40, seed=seed, **HOT), grammar=schema.grammar) for seed in range(4)]
    for future in [real.submit(one) for one in made]:
        completion = future.result()
        assert completion.finish_reason == "length" or schema.accepts(completion.text)
    assert real.deaths == deaths


def test_what_slips_past_the_check_costs_its_prompt_alone(engine: Engine) -> None:
    broken = engine.submit(asked(Decoding(20), grammar="start: (("))
    fine = engine.submit(asked(Decoding(20)))
    with pytest.raises(PromptRefused, match="grammar|Grammar"):
        broken.result()
    assert fine.result().text == "slate 0042 blue"


@pytest.mark.parametrize("prompt", [DEFAULT_PROMPT, "Describe.", "What kind of card is this?"])
def test_kinds_of_card_are_told_apart(engine: Engine, prompt: str) -> None:
    frames = held_out_frames(HELD_OUT, seed=909)
    turns = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]]
    sampling = Decoding().sampling_params()
    futures = [engine.submit(Request(turns, [image], sampling, choices=KINDS)) for image, _ in frames]
    right = sum(future.result().text == card.kind for future, (_, card) in zip(futures, frames, strict=True))
    assert {card.kind for _, card in frames} == set(KINDS)
    assert right >= 0.95 * len(frames)
    print(f"{prompt[:30]}: {right} of {len(frames)} kinds right")


def test_few_of_a_choices_questions_are_in_vllm_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes the tensors of all the prompt's frames along."""
    generate, inside, seen = Generation.generate, Counter[int](), list[int]()

    async def counted(self: Generation, rendered: Any, *rest: Any) -> Any:
        asking = id(rendered["mm_kwargs"])
        inside[asking] += 1
        seen.append(inside[asking])
        try:
            return await generate(self, rendered, *rest)
        finally:
            inside[asking] -= 1

    monkeypatch.setattr(Generation, "generate", counted)
    choices = tuple(f"{beginning} {end}" for beginning in "abcdefghijkl" for end in ("one", "two"))
    request = asked(Decoding(), choices=choices, confidence=True)
    assert engine.submit(request).result().text in choices
    assert len(seen) > 12
    assert max(seen) == 4


CHOICES = {
    "kinds": KINDS,
    "of several tokens": ("slate 0042 blue", "slate 0042 red", "chyron 0137 red", "a slate"),
    "one continues the other": ("slate", "slate 0042", "slate 0042 blue", "chyron"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_odds_are_those_of_transformers(engine: Engine, transformers: Transformers, name: str) -> None:
    choices = tuple(CHOICES[name])
    completion = engine.submit(asked(Decoding(), choices=choices, confidence=True)).result()
    words = transformers.processor.tokenizer
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}]
    begins = []
    for choice in choices:
        tokens = words.encode(answer_text(transformers.processor, choice), add_special_tokens=False)
        rows = transformers.logits(messages, FRAMES[:1], tokens).log_softmax(-1)
        begins.append(math.exp(sum(float(row[token]) for row, token in zip(rows, tokens, strict=True))))
    if name == "one continues the other":
        begins = [begins[0] - begins[1], begins[1] - begins[2], *begins[2:]]
    assert completion.odds is not None
    assert completion.odds.total == pytest.approx(sum(begins), rel=1e-3)
    expected = {choice: probability / sum(begins) for choice, probability in zip(choices, begins)}
    assert completion.odds.shares == pytest.approx(expected, abs=1e-5)
    assert completion.text == max(expected, key=expected.__getitem__)


def test_choices_are_made_into_tokens_once_for_all_prompts(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    token_ids, read = Context.token_ids, list[str]()

    def noted(context: Context, text: str) -> tuple[int, ...]:
        read.append(text)
        return token_ids(context, text)

    monkeypatch.setattr(Context, "token_ids", noted)
    choices = ("a weather map", "a talking head")  # no other test's
    for _ in range(3):
        assert engine.submit(asked(Decoding(), choices=choices)).result().text in choices
    assert [text.strip() for text in read if text.strip() in choices] == list(choices)


def test_a_choice_can_be_drawn_and_repeated(engine: Engine) -> None:
    choices = ("bars", "programme")  # neither is what it sees
    drawn = [
        engine.submit(asked(Decoding(temperature=2.0, seed=seed), choices=choices)).result().text for seed in range(40)
    ]
    assert set(drawn) == set(choices)
    again = engine.submit(asked(Decoding(temperature=2.0, seed=3), choices=choices)).result().text
    assert again == drawn[3]


def test_the_last_of_several_turns_is_chosen(engine: Engine) -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    first = [{"role": "user", "content": parts}]
    second = [*first, {"role": "assistant", "content": None}, {"role": "user", "content": "Which kind?"}]
    request = Request([first, second], FRAMES[1:], Decoding(60).sampling_params(), choices=KINDS)
    assert engine.submit(request).result().text == "chyron"


def test_random_weights_go_in_circles_and_the_guard_stops_them(real: Engine) -> None:
    endless = real.submit(asked(Decoding(300))).result()
    assert endless.finish_reason == "length"
    guarded = real.submit(asked(Decoding(300, repetition_guard=True), confidence=True)).result()
    assert guarded.finish_reason == "repetition"
    assert guarded.completion_tokens < 300
    assert endless.text.startswith(guarded.text)
    assert 0 < len(guarded.text) < len(endless.text) / 3
    assert guarded.confidence is not None
