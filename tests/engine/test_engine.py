"""The engine says what transformers says, and refuses what it can't answer without harm to the rest."""

from concurrent.futures import Future
from typing import Any

import pytest
import torch
from clams import ClamsPromptableApp
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from app import SmolVLM2Captioner
from demo.cards import Card, draw_card
from engine.conversation import with_replies
from engine.engine import Engine
from engine.errors import PromptRefused
from engine.request import Completion, Request
from models import DEMO
from sampling.decoding import Decoding

CARDS = [Card("slate", "blue", 42), Card("chyron", "red", 137), Card("credits", "green", 2026), Card("bars", "grey", 7)]
PHRASES = ["slate 0042 blue", "chyron 0137 red", "credits 2026 green", "bars 0007 grey"]
FRAMES = [draw_card(card, (640, 480)) for card in CARDS]
GREEDY = Decoding(max_new_tokens=60)


def turns(
    captioner: ClamsPromptableApp, prompt: list[str], frames: int, system: str = "", mode: str = "turn-taking"
) -> Any:
    made = captioner.build_conversation(prompt, system, [None] * frames, prompt_mode=mode)
    return made if isinstance(made[0], list) else [made]


class Transformers:
    """The same weights in transformers, in float32, without vLLM."""

    def __init__(self) -> None:
        self.processor = AutoProcessor.from_pretrained(DEMO)
        self.model = AutoModelForImageTextToText.from_pretrained(DEMO, dtype=torch.float32).eval()

    def reply(self, conversation: Any, frames: list[Image.Image]) -> str:
        replies: list[str] = []
        for prefix in conversation:
            parts = [
                {
                    **m,
                    "content": [{"type": "text", "text": m["content"]}]
                    if isinstance(m["content"], str)
                    else m["content"],
                }
                for m in with_replies(prefix, replies)
            ]
            text = self.processor.apply_chat_template(parts, add_generation_prompt=True, tokenize=False)
            inputs = self.processor(text=text, images=frames or None, return_tensors="pt")
            with torch.inference_mode():
                tokens = self.model.generate(**inputs, max_new_tokens=60, do_sample=False)
            answer = tokens[0, inputs["input_ids"].shape[1] :]
            replies.append(self.processor.decode(answer, skip_special_tokens=True).strip())
        return replies[-1]


@pytest.fixture(scope="module")
def transformers() -> Transformers:
    return Transformers()


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
