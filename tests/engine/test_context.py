"""Prices and fits, held against transformers' own counts at the demo model's sizes and at SmolVLM2-2.2B's."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import AutoProcessor
from vllm.config import ModelConfig
from vllm.model_executor.models.smolvlm import SmolVLMProcessingInfo
from vllm.multimodal.processing.context import InputProcessingContext

from bench import geometry
from engine.context import Context, Fit, Size
from engine.conversation import Clip, chat_text, with_frames
from engine.errors import PromptRefused
from models import DEMO

SD, PAL, HD = (640, 480), (720, 576), (1920, 1080)
PROMPT = "Describe what is shown and transcribe any visible text."


def messages(frames: int, prompt: str = PROMPT) -> Any:
    return [{"role": "user", "content": [{"type": "image"}] * frames + [{"type": "text", "text": prompt}]}]


def text_of(processor: Any, frames: int, prompt: str = PROMPT) -> Callable[[int], str]:
    return lambda first: chat_text(processor, with_frames(messages(frames, prompt), first))


@pytest.fixture(scope="module", params=["demo", "real"])
def processor(request: pytest.FixtureRequest) -> Any:
    return AutoProcessor.from_pretrained(DEMO) if request.param == "demo" else geometry.processor()


@pytest.fixture(scope="module")
def checkpoint(processor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if processor is not geometry.processor():
        return DEMO
    return geometry.save_checkpoint(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def context(processor: Any) -> Context:
    return Context(processor, processor.tokenizer.model_max_length)


@pytest.fixture(scope="module")
def real() -> Context:
    return Context(geometry.processor(), geometry.CONTEXT)


def random_size(rng: random.Random) -> Size:
    if rng.random() < 0.3:
        return rng.choice([SD, PAL, HD, (1, 1), (1, 999), (999, 1), (384, 384), (64, 64), (385, 384), (128, 127)])
    return rng.randint(1, 2000), rng.randint(1, 2000)


def test_prompts_cost_what_transformers_makes_of_them(processor: Any, context: Context) -> None:
    rng = random.Random(1)
    for _ in range(150 if context.tile_edge == 64 else 12):
        edge = rng.choice(context.edges)
        # One aspect ratio or many; at full size only few, since every pixel is really resized here.
        sizes = [random_size(rng) for _ in range(rng.randint(0, 6 if context.tile_edge == 64 else 2))]
        text = chat_text(processor, messages(len(sizes), PROMPT * rng.randint(1, 3)))
        frames = [Image.new("RGB", size, "grey") for size in sizes]
        theirs = processor(text=text, images=frames or None, size={"longest_edge": edge})["input_ids"][0]
        assert context.prompt_tokens(text, sizes, edge) == len(theirs), (sizes, edge)


def test_the_published_prices_of_the_real_model(real: Context) -> None:
    assert real.edges == (1536, 1152, 768, 384)
    prices = {size: [real.frame_tokens(size, edge) for edge in real.edges] for size in (SD, HD, PAL)}
    assert prices == {SD: [1083, 834, 418, 84], HD: [1083, 584, 418, 84], PAL: [1416, 834, 418, 84]}


def test_the_incumbents_credits_roll_did_not_fit(real: Context) -> None:
    # Eleven representatives at the default resolution, without a word of text.
    assert 11 * real.frame_tokens(SD, real.own_edge) == 11_913


@pytest.mark.parametrize("edge", [-384, 1, 383, 512, 1535, 1920, 3072])
def test_other_resolutions_are_refused_with_the_allowed_list(real: Context, edge: int) -> None:
    with pytest.raises(
        ValueError, match=rf'"longestEdge" must be one of 384, 768, 1152, 1536 px, or 0 .*; got {edge}\.'
    ):
        real.check_edge(edge)


def test_the_allowed_resolutions_are_the_processors(context: Context, processor: Any) -> None:
    for edge in (0, *context.edges):
        context.check_edge(edge)
    assert context.own_edge == processor.image_processor.size["longest_edge"]
    assert context.edges[-1] == processor.image_processor.max_image_size["longest_edge"]


def test_a_processor_that_cuts_through_tiles_is_refused() -> None:
    odd = AutoProcessor.from_pretrained(DEMO)
    odd.image_processor.size["longest_edge"] = 100
    with pytest.raises(ValueError, match="100 px; it has to be a multiple of the edge of a tile.* 64 px"):
        Context(odd, 2048)


def test_nothing_is_passed_to_vllm_at_the_models_own_resolution(real: Context) -> None:
    assert real.processor_kwargs(1536) == {}
    assert real.processor_kwargs(768) == {"mm_processor_kwargs": {"size": {"longest_edge": 768}}}


def brute_force(context: Context, text: str, sizes: list[Size], answer: int) -> int | None:
    """The largest edge that fits, from transformers' own expansion of the text."""
    processor = context._processor
    for edge in sorted(context.edges, reverse=True):
        grids = [
            processor.image_processor.get_number_of_image_patches(h, w, {"size": {"longest_edge": edge}})[1:]
            for w, h in sizes
        ]
        whole = ""
        for piece, grid in zip(text.split("<image>"), [*grids, None], strict=True):
            whole += piece
            if grid is not None:
                whole += processor.replace_image_token({"rows": [[grid[0]]], "cols": [[grid[1]]]}, 0)
        if len(processor.tokenizer(whole).input_ids) + answer <= context.length:
            return edge
    return None


@pytest.mark.parametrize("answer", [1, 200, 6000, 9000])
def test_frames_of_any_size_that_no_prompt_takes_are_refused_before_they_are_read(real: Context, answer: int) -> None:
    text = text_of(geometry.processor(), 98)
    real.check_frames(text, 97, answer)  # close to what fits only their sizes tell
    with pytest.raises(PromptRefused) as refused:
        real.fit(text, [SD] * 98, answer)
    fitting = next(part for part in str(refused.value).split(". ") if part.startswith("Set")).split(",")[0]
    with pytest.raises(PromptRefused, match=rf"18000 frame\(s\) at 384 px .*{fitting}, to fewer to keep 1536 px.$"):
        real.check_frames(text, 18_000, answer)
    with pytest.raises(PromptRefused, match=f"{fitting}.$"):
        real.check_frames(text, 98, answer, wanted_edge=384)


def test_a_text_that_leaves_no_room_for_frames_is_told(real: Context) -> None:
    text = text_of(geometry.processor(), 2, "word " * 9000)
    with pytest.raises(PromptRefused, match="Its text leaves no room: shorten prompt"):
        real.check_frames(text, 98, 200)


@pytest.mark.parametrize("size", [SD, PAL, HD])
@pytest.mark.parametrize("frames", [1, 7, 8, 19, 20, 95, 300])
def test_fits_or_is_refused_as_computed(real: Context, frames: int, size: Size) -> None:
    text = text_of(geometry.processor(), frames)
    expected = brute_force(real, text(frames), [size] * frames, 200)
    if expected is None:
        with pytest.raises(PromptRefused, match=f"{frames} frame"):
            real.fit(text, [size] * frames, 200)
        return
    fit = real.fit(text, [size] * frames, 200)
    assert fit == Fit(expected, 1536, 200, 200, real.prompt_tokens(text(frames), [size] * frames, expected))


@pytest.mark.parametrize(
    ("frames", "edge"),
    [(1, 1536), (7, 1536), (8, 1152), (9, 1152), (10, 768), (19, 768), (20, 384), (94, 384), (95, None)],
)
def test_where_an_sd_frames_resolution_falls(real: Context, frames: int, edge: int | None) -> None:
    text = text_of(geometry.processor(), frames)
    if edge is None:
        with pytest.raises(PromptRefused):
            real.fit(text, [SD] * frames, 200)
    else:
        assert real.fit(text, [SD] * frames, 200).longest_edge == edge


def test_fits_mixed_sizes_exactly_up_to_the_last_token(context: Context, processor: Any) -> None:
    rng = random.Random(2)
    for _ in range(40):
        sizes = [random_size(rng) for _ in range(rng.randint(1, 60))]
        text = text_of(processor, len(sizes))
        edge = rng.choice(context.edges)
        tokens = context.prompt_tokens(text(len(sizes)), sizes, edge)
        if tokens >= context.length:
            continue
        exact = Context(processor, tokens + 50)
        assert exact.fit(text, sizes, 50).longest_edge >= edge
        assert exact.fit(text, sizes, 50, longest_edge=edge) == Fit(edge, edge, 50, 50, tokens)
        if edge == context.tile_edge and len(sizes) > 1:
            with pytest.raises(PromptRefused):
                Context(processor, tokens + 49).fit(text, sizes, 50)


def test_skip_keeps_the_resolution_or_refuses(real: Context) -> None:
    processor = geometry.processor()
    assert real.fit(text_of(processor, 7), [SD] * 7, 200, overflow="skip").longest_edge == 1536
    with pytest.raises(PromptRefused) as refused:
        real.fit(text_of(processor, 8), [SD] * 8, 200, overflow="skip")
    text = text_of(processor, 8)(8)
    needed = real.prompt_tokens(text, [SD] * 8, 1536) + 200
    assert str(refused.value) == (
        f"The prompt is too long: {needed} tokens with its 8 frame(s) at 1536 px and 200 for the answer, of 8192 that "
        "the model takes. Set maxImagesPerPrompt to 7 or less to have it captioned in parts, or contextOverflow to "
        "shrink."
    )


def test_a_refusal_names_what_would_work_and_it_does(context: Context, processor: Any) -> None:
    for size in (SD, HD):
        with pytest.raises(PromptRefused) as refused:
            context.fit(text_of(processor, 999), [size] * 999, 200)
        said = str(refused.value)
        numbers = [int(word) for word in said.replace(",", " ").replace(".", " ").split() if word.isdigit()]
        needed, frames, edge, answer, length, fitting, whole, kept = numbers
        assert (frames, answer, length, edge, kept) == (999, 200, context.length, context.tile_edge, context.own_edge)
        assert needed == context.prompt_tokens(text_of(processor, 999)(999), [size] * 999, edge) + 200
        for works, asked in ((fitting, context.tile_edge), (whole, context.own_edge)):
            options: Any = {"longest_edge": asked, "overflow": "skip"}
            assert context.fit(text_of(processor, works), [size] * works, 200, **options).max_new_tokens == 200
            with pytest.raises(PromptRefused):
                context.fit(text_of(processor, works + 1), [size] * (works + 1), 200, **options)


def test_a_text_that_leaves_no_room_is_refused_with_or_without_frames(real: Context) -> None:
    for frames in (0, 1):
        with pytest.raises(PromptRefused, match="too long: .* Its text leaves no room: shorten prompt"):
            real.fit(text_of(geometry.processor(), frames, "word " * 8200), [SD] * frames, 200)


def test_a_text_of_any_length_is_refused_without_looking_for_its_tokens(
    real: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "_known_ids", lambda text: pytest.fail("it is made into tokens"))
    with pytest.raises(PromptRefused, match=r"too long: 15000\d\d characters .* takes 8192 tokens. Shorten prompt"):
        real.fit(text_of(geometry.processor(), 1, "word " * 300_000), [SD], 200)


def test_the_tokens_of_a_text_that_many_prompts_have_are_looked_for_once(
    processor: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, seen = context._encode, []
    monkeypatch.setattr(context, "_encode", lambda text: seen.append(text) or encode(text))
    fits = [context.fit(text_of(processor, 1, "Said by no other test."), [SD], 200) for _ in range(5)]
    assert len({*fits}) == 1
    assert len(seen) == len({*seen}) == 1


def test_max_new_tokens_is_kept_by_shrinking_where_that_is_possible(real: Context) -> None:
    text = text_of(geometry.processor(), 3)
    fit = real.fit(text, [SD] * 3, 6000)
    assert (fit.longest_edge, fit.max_new_tokens) == (768, 6000)


@pytest.mark.parametrize("overflow", ["shrink", "skip"])
def test_max_new_tokens_that_nothing_could_keep_is_reduced_to_the_room_there_is(real: Context, overflow: Any) -> None:
    text = text_of(geometry.processor(), 2)
    tokens = real.prompt_tokens(text(2), [SD] * 2, 1536)
    fit = real.fit(text, [SD] * 2, 8192, overflow=overflow)
    assert fit == Fit(1536, 1536, 8192 - tokens, 8192, tokens)


def test_a_text_alone_reduces_max_new_tokens_down_to_the_last_token(real: Context) -> None:
    text = text_of(geometry.processor(), 0)
    tokens = real.tokens(text(0))
    assert Context(geometry.processor(), tokens + 1).fit(text, [], 200).max_new_tokens == 1
    with pytest.raises(PromptRefused, match="leaves no room"):
        Context(geometry.processor(), tokens).fit(text, [], 200)


def test_several_answers_each_get_their_room(real: Context) -> None:
    text = text_of(geometry.processor(), 7)
    assert real.fit(text, [SD] * 7, 200).longest_edge == 1536
    assert real.fit(text, [SD] * 7, 200, answers=2).longest_edge == 1536
    fit = real.fit(text, [SD] * 7, 200, answers=3)
    assert (fit.longest_edge, fit.max_new_tokens) == (1152, 200)


def test_video_wording_of_the_real_model_fits_about_85_frames(real: Context) -> None:
    processor = geometry.processor()

    def text(frames: int) -> str:
        clip = Clip(tuple(range(0, 300_000, 1000)), 300_000).last(frames)
        return chat_text(processor, messages(frames), clip)

    fitting = 0
    while len(processor.tokenizer(text(fitting + 1)).input_ids) + (fitting + 1) * 83 + 200 <= 8192:
        fitting += 1
    assert fitting in range(80, 90)
    assert real.fit(text, [HD] * fitting, 200, longest_edge=384).longest_edge == 384
    with pytest.raises(PromptRefused, match=f"Set maxImagesPerPrompt to {fitting} or less"):
        real.fit(text, [HD] * (fitting + 1), 200, longest_edge=384)


def test_frames_cost_what_vllm_puts_in_their_place(processor: Any, context: Context, checkpoint: Path) -> None:
    information = SmolVLMProcessingInfo(InputProcessingContext(ModelConfig(model=str(checkpoint)), processor.tokenizer))
    theirs = information.get_hf_processor()
    rng = random.Random(4)
    for _ in range(1500):
        (width, height), edge = random_size(rng), rng.choice(context.edges)
        keywords = context.processor_kwargs(edge).get("mm_processor_kwargs", {})
        text = information.get_image_repl(image_width=width, image_height=height, processor=theirs, mm_kwargs=keywords)
        ids = processor.tokenizer(text, add_special_tokens=False).input_ids
        assert context.frame_tokens((width, height), edge) == len(ids), (width, height, edge)


def test_a_resolution_that_is_asked_for_is_never_exceeded(real: Context) -> None:
    few, many = text_of(geometry.processor(), 2), text_of(geometry.processor(), 30)
    assert real.fit(few, [SD] * 2, 200, longest_edge=768).longest_edge == 768
    fit = real.fit(many, [SD] * 30, 200, longest_edge=768)
    assert (fit.longest_edge, fit.wanted_edge) == (384, 768)
