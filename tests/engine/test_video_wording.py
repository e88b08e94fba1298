"""Frames worded as a video are, token for token, what transformers' processor makes of the same frames and times."""

import random
from typing import Any

import numpy as np
import pytest
from clams import ClamsPromptableApp
from PIL import Image
from transformers import AutoProcessor
from transformers.video_utils import VideoMetadata

from bench import geometry
from engine.context import Context
from engine.conversation import Clip, chat_text, with_frames
from models import DEMO


class Bare(ClamsPromptableApp):
    def _appmetadata(self) -> None: ...
    def _annotate(self, mmif: Any, **parameters: Any) -> None: ...
    def generate(self, *args: Any, **kwargs: Any) -> None: ...


def conversation(prompt: list[str], frames: int, system: str = "") -> Any:
    # build_conversation uses nothing of the instance
    return ClamsPromptableApp.build_conversation(object.__new__(Bare), prompt, system, [None] * frames)


@pytest.fixture(scope="module", params=["demo", "real"])
def processor(request: pytest.FixtureRequest) -> Any:
    return AutoProcessor.from_pretrained(DEMO) if request.param == "demo" else geometry.processor()


def theirs(processor: Any, messages: Any, frames: np.ndarray, clip: Clip) -> Any:
    """What transformers makes of the messages, a video in the place of their images."""
    worded = []
    for message in messages:
        parts = message["content"]
        if isinstance(parts, str):
            parts = [{"type": "text", "text": parts}]
        text = [part for part in parts if part["type"] == "text"]
        worded.append({**message, "content": [{"type": "video"}] * (len(parts) > len(text)) + text})
    text = processor.apply_chat_template(worded, add_generation_prompt=True, tokenize=False)
    times = VideoMetadata(
        total_num_frames=len(frames), fps=1000, duration=clip.duration / 1000, frames_indices=list(clip.times)
    )
    return processor(text=[text], videos=[[frames]], video_metadata=[[times]], return_tensors="pt")


def expanded(processor: Any, text: str) -> list[int]:
    tile = processor.replace_image_token({"rows": [[0]], "cols": [[0]]}, 0)
    return list(processor.tokenizer(text.replace("<image>", tile)).input_ids)


CLIPS = {
    "one frame": Clip((0,), 0),
    "three frames": Clip((0, 1500, 61_000), 125_999),
    "half seconds, cut off": Clip((499, 500, 999, 1000, 1999), 2500),
    "more than an hour": Clip((0, 3_600_000, 7_199_999), 7_200_000),
    "twenty-one": Clip(tuple(range(0, 21_000, 1000)), 21_000),
}


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("prompt", [["What happens?"], ["A?", "B.", "And here?"]], ids=["one shot", "turn-taking"])
def test_equals_transformers(processor: Any, name: str, prompt: list[str]) -> None:
    clip = CLIPS[name]
    frames = np.zeros((len(clip.times), 48, 64, 3), dtype=np.uint8)
    messages = conversation(prompt, len(clip.times), "Be brief.")
    ids = theirs(processor, messages, frames, clip)["input_ids"][0].tolist()
    text = chat_text(processor, messages, clip)
    assert expanded(processor, text) == ids
    context = Context(processor, 8192)
    assert context.prompt_tokens(text, [(64, 48)] * len(frames), context.tile_edge) == len(ids)


def test_equals_transformers_at_random_times(processor: Any) -> None:
    rng = random.Random(3)
    for _ in range(30):
        times = sorted(rng.randrange(10_000_000) for _ in range(rng.randint(1, 20)))
        clip = Clip(tuple(times), times[-1] + rng.randrange(10_000))
        messages = conversation(["Describe."], len(times))
        frames = np.zeros((len(times), 8, 8, 3), dtype=np.uint8)
        assert (
            expanded(processor, chat_text(processor, messages, clip))
            == theirs(processor, messages, frames, clip)["input_ids"][0].tolist()
        )


def test_frames_are_the_same_pixels_as_the_videos(processor: Any) -> None:
    # What the model sees at one tile a frame is what it would see of a video.
    rng = np.random.default_rng(4)
    edge = processor.image_processor.max_image_size["longest_edge"]
    for size in ((48, 64), (120, 90), (edge, edge)):
        frames = rng.integers(0, 255, (3, *size, 3), dtype=np.uint8)
        video = theirs(processor, conversation(["?"], 3), frames, Clip((0, 1, 2), 3))
        images = processor.image_processor(
            [Image.fromarray(frame) for frame in frames], size={"longest_edge": edge}, return_tensors="pt"
        )
        assert (images["pixel_values"] - video["pixel_values"]).abs().max() < 0.05


def test_the_wording(processor: Any) -> None:
    messages = conversation(["What happens?"], 2, "Be brief.")
    assert chat_text(processor, messages, Clip((0, 61_000), 125_000)) == (
        "<|im_start|>System: Be brief.<end_of_utterance>\n"
        "User: You are provided the following series of two frames from a 0:02:05 [H:MM:SS] video.\n"
        "\n"
        "Frame from 00:00:<image>\n"
        "Frame from 01:01:<image>\n"
        "\n"
        "What happens?<end_of_utterance>\n"
        "Assistant:"
    )


def test_text_that_looks_like_a_place_for_a_video_stays_text(processor: Any) -> None:
    messages = conversation(["What is <video>?", "A tag.", "And <video>?"], 1)
    text = chat_text(processor, messages, Clip((0,), 1000))
    assert text.startswith("<|im_start|>User: What is <video>?<end")
    assert text.count("You are provided") == 1
    assert text.endswith("<image>\n\nAnd <video>?<end_of_utterance>\nAssistant:")


def test_fewer_frames_of_a_clip(processor: Any) -> None:
    clip = Clip((0, 1000, 2000), 3000)
    messages = conversation(["Describe."], 3)
    text = chat_text(processor, with_frames(messages, 2), clip.last(2))
    assert text == chat_text(processor, conversation(["Describe."], 2), Clip((1000, 2000), 3000))
    assert with_frames(messages, 3) == messages
    assert with_frames(messages, 0) == conversation(["Describe."], 0)


def test_text_before_the_frames_stays_before_them(processor: Any) -> None:
    parts = [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "Well?"}]
    text = chat_text(processor, [{"role": "user", "content": parts}], Clip((0,), 1000))
    assert text.startswith("<|im_start|>User: Look: You are provided")
    assert text.endswith("Frame from 00:00:<image>\n\nWell?<end_of_utterance>\nAssistant:")
