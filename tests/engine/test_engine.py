"""The engine says what transformers says, and refuses what it can't answer without harm to the rest."""

from concurrent.futures import Future
from typing import Any

import pytest
from clams import ClamsPromptableApp
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from app import SmolVLM2Captioner
from demo.cards import Card, draw_card
from engine.engine import Engine
from engine.errors import PromptRefused
from engine.request import Completion, Request
from sampling.decoding import Decoding
from tests.reference import Transformers

CARDS = [Card("slate", "blue", 42), Card("chyron", "red", 137), Card("credits", "green", 2026), Card("bars", "grey", 7)]
PHRASES = ["slate 0042 blue", "chyron 0137 red", "credits 2026 green", "bars 0007 grey"]
FRAMES = [draw_card(card, (640, 480)) for card in CARDS]
GREEDY = Decoding(max_new_tokens=60)


def turns(
    captioner: ClamsPromptableApp, prompt: list[str], frames: int, system: str = "", mode: str = "turn-taking"
) -> Any:
    made = captioner.build_conversation(prompt, system, [None] * frames, prompt_mode=mode)
    return made if isinstance(made[0], list) else [made]


CASES: dict[str, dict[str, Any]] = {
    "one image": {"prompt": ["Describe the frame."], "frames": 1},
    "several images": {"prompt": ["Describe the frames."], "frames": 4},
    "text only": {"prompt": ["Who are you?"], "frames": 0},
    "system prompt": {"prompt": ["Describe the frames."], "frames": 2, "system": "You are an archivist."},
    "turn-taking": {"prompt": ["What do you see?", "A card.", "Describe these frames."], "frames": 3},
    "user-only": {"prompt": ["What do you see?", "Describe the frames again."], "frames": 3, "mode": "user-only"},
}


@pytest.mark.parametrize("name", CASES)
def test_greedy_equals_transformers(
    captioner: SmolVLM2Captioner, engine: Engine, transformers: Transformers, name: str
) -> None:
    case = CASES[name]
    conversation = turns(captioner, **case)
    frames = FRAMES[: case["frames"]]
    ours = engine.submit(Request(conversation, frames, GREEDY.sampling_params())).result()
    assert ours.text == transformers.reply(conversation, frames)
    assert ours.finish_reason == "stop"


def test_reads_frames_in_order(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    order = [2, 0, 3, 1]
    request = Request(turns(captioner, ["Describe."], 4), [FRAMES[i] for i in order], GREEDY.sampling_params())
    assert engine.submit(request).result().text == "; ".join(PHRASES[i] for i in order)


def test_many_in_flight_answer_as_one_by_one(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    futures = [
        engine.submit(Request(turns(captioner, ["Describe."], 1), [FRAMES[i % 4]], GREEDY.sampling_params()))
        for i in range(16)
    ]
    assert [future.result().text for future in futures] == [PHRASES[i % 4] for i in range(16)]
    assert engine.in_flight == 0


def test_a_cut_answer_says_so(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    request = Request(turns(captioner, ["Describe."], 4), FRAMES, Decoding(max_new_tokens=3).sampling_params())
    completion = engine.submit(request).result()
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 3)


def test_an_empty_answer_is_none(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    sampling = GREEDY.sampling_params()
    sampling.logit_bias = {engine._prompts._answering._processor.tokenizer.eos_token_id: 100.0}
    with pytest.raises(PromptRefused, match="answered with nothing"):
        engine.submit(Request(turns(captioner, ["Describe."], 1), FRAMES[:1], sampling)).result()


def test_a_prompt_longer_than_the_context_is_refused_and_the_next_is_not(
    captioner: SmolVLM2Captioner, engine: Engine
) -> None:
    long = engine.submit(Request(turns(captioner, ["?"], 100), [FRAMES[0]] * 100, GREEDY.sampling_params()))
    fine = engine.submit(Request(turns(captioner, ["Describe."], 1), [FRAMES[0]], GREEDY.sampling_params()))
    with pytest.raises(PromptRefused, match=rf"too long: \d+ tokens .* 100 frame.* of {engine.context_length}"):
        long.result()
    assert fine.result().text == PHRASES[0]


def test_a_prompt_whose_placeholders_do_not_match_is_refused(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    mismatched = Request(turns(captioner, ["?"], 3), FRAMES[:1], GREEDY.sampling_params())
    with pytest.raises(PromptRefused, match="3 places for 1 frame"):
        engine.submit(mismatched).result()
    written = Request(turns(captioner, ["What is <image>?"], 1), FRAMES[:1], GREEDY.sampling_params())
    with pytest.raises(PromptRefused, match="Text that reads <image> stands for a frame"):
        engine.submit(written).result()
    fine = Request(turns(captioner, ["Describe."], 1), FRAMES[:1], GREEDY.sampling_params())
    assert engine.submit(fine).result().text == PHRASES[0]


def test_a_cancelled_request_leaves_the_engine(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    endless = SamplingParams(max_tokens=1500, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)
    future: Future[Completion] = engine.submit(Request(turns(captioner, ["Describe."], 1), FRAMES[:1], endless))
    follower = engine.submit(Request(turns(captioner, ["Describe."], 1), FRAMES[:1], GREEDY.sampling_params()))
    follower.result()
    assert engine.in_flight == 1
    assert future.cancel()
    engine.submit(Request(turns(captioner, ["Describe."], 1), FRAMES[:1], GREEDY.sampling_params())).result()
    assert engine.in_flight == 0
    assert engine.unfinished_in_vllm == 0
