"""What the engine says of its confidence is what transformers says of the same tokens."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from demo.cards import Card, draw_card
from engine.conversation import with_replies
from engine.engine import Engine
from engine.generation import Generation
from engine.request import Completion, Request
from sampling.decoding import Decoding
from tests.reference import Transformers

CARDS = [Card("slate", "blue", 42), Card("chyron", "red", 137), Card("credits", "green", 2026)]
FRAMES = [draw_card(card, (640, 480)) for card in CARDS]

Answer = Callable[[Request], tuple[Completion, list[Sequence[int]]]]


@pytest.fixture
def answer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Answers a request; returns the tokens of all its generations, too."""
    generate, told = Generation.generate, list[Sequence[int]]()

    async def overheard(*arguments: Any) -> Any:
        output = await generate(*arguments)
        told.append(output.outputs[0].token_ids)
        return output

    monkeypatch.setattr(Generation, "generate", overheard)
    return lambda request: (engine.submit(request).result(), told)


def user(text: str, frames: int = 0) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}] * frames + [{"type": "text", "text": text}]}


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(max_new_tokens=60),
        Decoding(max_new_tokens=5),
        Decoding(max_new_tokens=60, temperature=2.0, top_k=0, seed=1),
        Decoding(max_new_tokens=60, temperature=2.0, top_k=0, seed=2),
        Decoding(max_new_tokens=60, temperature=2.0, top_k=2, top_p=0.5, seed=3),
        Decoding(max_new_tokens=60, repetition_penalty=0.1),
    ],
    ids=["greedy", "cut", "sampled", "sampled again", "sampled from two", "with a penalty"],
)
def test_it_is_the_models_own_whatever_was_made_of_it(
    answer: Answer, transformers: Transformers, decoding: Decoding
) -> None:
    messages = [user("Describe the frames.", 3)]
    completion, (tokens,) = answer(Request([messages], FRAMES, decoding.sampling_params(), confidence=True))
    rows = transformers.logits(messages, FRAMES, tokens).log_softmax(-1)
    own = [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
    assert completion.confidence is not None
    assert completion.confidence.mean == pytest.approx(math.exp(sum(own) / len(own)), rel=1e-3)
    assert completion.confidence.lowest == pytest.approx(math.exp(min(own)), rel=1e-3)
    if completion.finish_reason == "stop":
        assert tokens[-1] == transformers.processor.tokenizer.eos_token_id


def test_a_caption_that_was_drawn_against_the_odds_is_told_apart(answer: Answer, transformers: Transformers) -> None:
    hot = Decoding(max_new_tokens=60, temperature=2.0, top_k=0)
    sure, _ = answer(Request([[user("Describe.", 1)]], FRAMES[:1], Decoding().sampling_params(), confidence=True))
    drawn = [
        answer(Request([[user("Describe.", 1)]], FRAMES[:1], hot.sampling_params(), confidence=True))[0]
        for _ in range(20)
    ]
    assert sure.confidence is not None
    assert sure.confidence.lowest > 0.99
    strayed = [one for one in drawn if one.text != sure.text]
    assert strayed  # at this temperature, several of twenty do
    for one in strayed:
        assert one.confidence is not None
        assert one.confidence.lowest < 0.1 < sure.confidence.lowest
        assert one.confidence.mean < sure.confidence.mean


def test_of_several_turns_it_is_the_last_ones(answer: Answer, transformers: Transformers) -> None:
    open_turn = {"role": "assistant", "content": None}
    first, second = [user("What?", 2)], [user("What?", 2), open_turn, user("And now in one line.")]
    hot = Decoding(max_new_tokens=60, temperature=1.5, top_k=0, seed=5).sampling_params()
    completion, (reply, last) = answer(Request([first, second], FRAMES[:2], hot, confidence=True))
    said = transformers.processor.decode(reply, skip_special_tokens=True).strip()
    rows = transformers.logits(with_replies(second, [said]), FRAMES[:2], last).log_softmax(-1)
    own = rows[torch.arange(len(last)), torch.tensor(list(last))]
    assert completion.confidence is not None
    assert completion.confidence.mean == pytest.approx(float(own.mean().exp()), rel=1e-3)


def test_nobody_who_did_not_ask_is_told(answer: Answer) -> None:
    completion, _ = answer(Request([[user("Describe.", 1)]], FRAMES[:1], Decoding().sampling_params()))
    assert completion.confidence is None
