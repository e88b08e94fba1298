"""Prompts over the same frames: each goes in when the model has read the one before, and reuses what it has read."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from demo.cards import Card, draw_card
from engine.engine import Engine
from engine.generation import Generation
from engine.request import Request
from sampling.decoding import Decoding
from tests.engine.test_turns import at_rest
from tests.waiting import wait_until

CARDS = [Card("slate", "blue", 40 + number) for number in range(9)]
FRAMES = [draw_card(card, (640, 480)) for card in CARDS]
SAID = "; ".join(card.phrase for card in CARDS)
BLOCK = 128  # tokens; prefixes are reused in whole blocks, of this size on CPU


def over_frames(text: str, tokens: int = 120) -> Request:
    parts: list[Any] = [{"type": "image"}] * len(FRAMES) + [{"type": "text", "text": text}]
    return Request([[{"role": "user", "content": parts}]], FRAMES, Decoding(max_new_tokens=tokens).sampling_params())


def endless(text: str) -> Request:
    made = over_frames(text, 1500)
    made.sampling.ignore_eos = True
    return made


@pytest.fixture
def events(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What goes into vLLM, and what it has read, in the order of both; prompts by their last word."""
    seen: list[str] = []
    generate = Generation.generate

    async def noted(
        self: Generation, rendered: Any, sampling: Any, priority: int, on_read: Any = None, copy: int | None = None
    ) -> Any:
        text = engine._processor.tokenizer.decode(rendered["prompt_token_ids"])
        name = text.rpartition("<end")[0].split()[-1].rpartition(">")[2]
        seen.append(f"in {name}")

        def read() -> None:
            seen.append(f"read {name}")
            on_read()

        return await generate(self, rendered, sampling, priority, on_read and read, copy)

    monkeypatch.setattr(Generation, "generate", noted)
    yield seen
    wait_until(lambda: at_rest(engine))


def test_each_goes_in_when_the_one_before_is_read_and_reads_only_what_is_new(engine: Engine, events: list[str]) -> None:
    colours = [Image.new("RGB", (640, 480), (number, 90, 160)) for number in range(9)]
    alone = engine.submit(over_frames("Describe the second one")).result()
    engine.submit(Request(over_frames("x").turns, colours, over_frames("x").sampling)).result()
    events.clear()
    call = engine.open_call()
    first, second, third = [
        future.result()
        for future in call.submit_in_turn([over_frames("Describe the " + name) for name in ("a", "b", "c")])
    ]
    assert events == ["in a", "read a", "in b", "read b", "in c"]
    assert first.text == second.text == third.text == alone.text == SAID
    assert (first.finish_reason, first.completion_tokens) == ("stop", alone.completion_tokens)
    shared = 34 * len(FRAMES) // BLOCK * BLOCK
    assert second.cached_tokens >= shared
    assert third.cached_tokens >= shared
    assert second.prompt_tokens == first.prompt_tokens


def test_a_follower_is_in_while_its_leader_still_writes(engine: Engine, events: list[str]) -> None:
    leader, follower = engine.open_call().submit_in_turn([endless("a"), over_frames("b", 4)])
    assert SAID.startswith(follower.result().text)
    assert leader.cancel()
    assert events == ["in a", "read a", "in b"]


def test_a_follower_goes_in_when_a_choice_has_read_the_prompt(engine: Engine, events: list[str]) -> None:
    choices = tuple(f"slate 0042 blue; chyron 01{number} red" for number in range(37, 41))  # part at their last digits
    choice = replace(over_frames("Choose a"), choices=choices, confidence=True)
    leader, follower = engine.open_call().submit_in_turn([choice, over_frames("b", 4)])
    assert leader.result().text in choices
    assert follower.result().text
    assert events[:2] == ["in a", "read a"]
    assert sorted(events[2:]) == ["in a"] * (len(events) - 3) + ["in b"]
    assert len(events) > 5  # it asks on, of every place up to the last digits
    assert follower.result().cached_tokens >= 34 * len(FRAMES) // BLOCK * BLOCK


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("fate", ["cancelled", "refused"])
def test_what_becomes_of_the_leader_is_nothing_to_its_follower(engine: Engine, fate: str) -> None:
    leading = over_frames("What is <image>?" if fate == "refused" else "a")
    leader, follower = engine.open_call().submit_in_turn([leading, over_frames("b")])
    if fate == "cancelled":
        assert leader.cancel()
    assert follower.result().text == SAID
    assert leader.cancelled() if fate == "cancelled" else "<image>" in str(leader.exception())


def test_a_follower_that_is_cancelled_is_passed_over(engine: Engine, events: list[str]) -> None:
    first, second, third = engine.open_call().submit_in_turn([over_frames(name) for name in ("a", "b", "c")])
    assert second.cancel()
    assert (first.result().text, third.result().text) == (SAID, SAID)
    assert events == ["in a", "read a", "in c"]


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("stage", ["at once", "leader in vLLM", "both in vLLM"])
def test_a_cancelled_call_takes_its_followers_along(engine: Engine, stage: str) -> None:
    call = engine.open_call()
    answered = engine.answered
    futures = call.submit_in_turn([endless(name) for name in ("a", "b", "c")])
    if stage != "at once":
        wait_until(lambda: engine.unfinished_in_vllm >= (1 if stage == "leader in vLLM" else 2))
    call.cancel()
    assert all(future.cancelled() for future in futures)
    wait_until(lambda: at_rest(engine))
    assert engine.answered == answered  # none was left to write to its end
