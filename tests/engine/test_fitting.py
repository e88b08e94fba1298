"""What was computed before a prompt went in is what the engine counts, refuses, reads and repeats."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from clams import ClamsPromptableApp
from PIL import Image
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from app import SmolVLM2Captioner
from demo.cards import Card, draw_card
from engine.answering import size_of
from engine.conversation import Clip
from engine.engine import Engine
from engine.errors import PromptRefused
from engine.request import Request
from sampling.decoding import Decoding

SD = (640, 480)
CARDS = [Card("slate", "blue", 42), Card("chyron", "red", 137), Card("credits", "green", 2026), Card("bars", "grey", 7)]
FRAMES = [draw_card(card, SD) for card in CARDS]
ONE_TOKEN = SamplingParams(max_tokens=1, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)


def turns(captioner: ClamsPromptableApp, prompt: list[str], frames: int, mode: str = "turn-taking") -> Any:
    made = captioner.build_conversation(prompt, "", [None] * frames, prompt_mode=mode)
    return made if isinstance(made[0], list) else [made]


def said(cards: list[Card]) -> str:
    return "; ".join(card.phrase for card in cards)


def random_request(captioner: SmolVLM2Captioner, rng: random.Random, edges: tuple[int, ...], most: int) -> Request:
    sizes = [rng.choice([SD, (rng.randint(1, 900), rng.randint(1, 900))]) for _ in range(rng.randint(0, most))]
    frames = [Image.new("RGB", size, "grey") for size in sizes]
    conversation = turns(captioner, ["Describe. " * rng.randint(1, 9)], len(frames))
    if frames and rng.random() < 0.3:
        times = tuple(sorted(rng.uniform(0, 1e7) for _ in frames))
        return Request(conversation, frames, ONE_TOKEN, clip=Clip(times, times[-1] + 1000))
    return Request(conversation, frames, ONE_TOKEN, longest_edge=rng.choice((0, *edges)))


def test_the_engine_counts_what_was_computed(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    rng = random.Random(5)
    requests = [random_request(captioner, rng, engine.context.edges, 12) for _ in range(150)]
    for request, future in [(request, engine.submit(request)) for request in requests]:
        completion = answered(future)
        if completion is not None:
            assert completion.fit is not None
            assert completion.prompt_tokens == completion.fit.prompt_tokens
            asked = engine.context.tile_edge if request.clip else request.longest_edge or engine.context.own_edge
            assert completion.fit.longest_edge == asked


def test_the_engine_counts_what_was_computed_at_the_real_sizes(captioner: SmolVLM2Captioner, real: Engine) -> None:
    rng = random.Random(6)
    requests = [random_request(captioner, rng, real.context.edges, 3) for _ in range(20)]
    for future in [real.submit(request) for request in requests]:
        completion = future.result()
        assert completion.fit is not None
        assert completion.prompt_tokens == completion.fit.prompt_tokens


def answered(future: Any) -> Any:
    """The completion; ``None`` if the one token asked for was white space."""
    try:
        return future.result()
    except PromptRefused as error:
        assert "answered with nothing" in str(error)
        return None


@pytest.mark.parametrize(
    ("frames", "edge"), [(1, 1536), (7, 1536), (8, 1152), (9, 1152), (18, 768), (19, 384), (20, 384)]
)
def test_sd_frames_at_the_real_sizes(captioner: SmolVLM2Captioner, real: Engine, frames: int, edge: int) -> None:
    prompt = [captioner_prompt(captioner)]
    sampling = Decoding(max_new_tokens=200).sampling_params()
    sampling.stop_token_ids = list(range(49280))  # one token of the 200 is enough here
    sampling.include_stop_str_in_output = True
    request = Request(turns(captioner, prompt, frames), [Image.new("RGB", SD)] * frames, sampling, overflow="shrink")
    completion = real.submit(request).result()
    assert completion.fit is not None
    assert (completion.fit.longest_edge, completion.fit.max_new_tokens) == (edge, 200)
    assert completion.prompt_tokens == completion.fit.prompt_tokens


@pytest.mark.parametrize("frames", [95, 300])
def test_sd_frames_that_do_not_fit_at_the_real_sizes(captioner: SmolVLM2Captioner, real: Engine, frames: int) -> None:
    sampling = Decoding(max_new_tokens=200).sampling_params()
    conversation = turns(captioner, [captioner_prompt(captioner)], frames)
    request = Request(conversation, [Image.new("RGB", SD)] * frames, sampling, overflow="shrink")
    with pytest.raises(PromptRefused, match=rf"{frames} frame.* of 8192 .* Set maxImagesPerPrompt to 94 or less"):
        real.submit(request).result()


def captioner_prompt(captioner: SmolVLM2Captioner) -> str:
    return str(next(p.default for p in captioner.metadata.parameters if p.name == "prompt"))


@pytest.mark.parametrize("overflow", ["shrink", "skip"])
def test_up_to_the_last_frame_that_fits_and_not_one_more(
    captioner: SmolVLM2Captioner, engine: Engine, overflow: Any
) -> None:
    edge = engine.context.own_edge if overflow == "skip" else engine.context.tile_edge
    sampling = Decoding(max_new_tokens=20).sampling_params()
    empty = engine.context.tokens("<|im_start|>User:?<end_of_utterance>\nAssistant:")
    fitting = (engine.context_length - 20 - empty) // engine.context.frame_tokens(SD, edge)
    assert fitting > 20

    def ask(frames: int) -> Any:
        images = [FRAMES[number % 4] for number in range(frames)]
        return engine.submit(Request(turns(captioner, ["?"], frames), images, sampling, overflow=overflow))

    most, too_many = ask(fitting), ask(fitting + 1)
    with pytest.raises(PromptRefused, match=f"Set maxImagesPerPrompt to {fitting} or less"):
        too_many.result()
    completion = most.result()
    assert completion.fit.longest_edge == edge
    assert completion.prompt_tokens == empty + fitting * engine.context.frame_tokens(SD, edge)
    assert completion.prompt_tokens > engine.context_length - 20 - engine.context.frame_tokens(SD, edge)


def test_every_frame_of_a_shrunk_prompt_is_read(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    conversation = turns(captioner, ["Describe."], 4)
    for longest in (engine.context_length, engine.context_length - 100):
        sampling = Decoding(max_new_tokens=longest).sampling_params()
        fit = engine.submit(Request(conversation, FRAMES, sampling, overflow="shrink")).result().fit
        assert fit is not None
        if longest == engine.context_length:  # more than one frame could leave: reduced, at full size
            assert (fit.longest_edge, fit.wanted_tokens) == (engine.context.own_edge, longest)
            assert fit.max_new_tokens == engine.context_length - fit.prompt_tokens
        else:
            assert (fit.longest_edge, fit.max_new_tokens) == (engine.context.tile_edge, longest)
    shrunk = Decoding(max_new_tokens=engine.context_length - 100).sampling_params()
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        request = Request(conversation, [FRAMES[n] for n in order], shrunk, overflow="shrink")
        assert engine.submit(request).result().text == said([CARDS[n] for n in order])


def test_every_frame_of_a_lower_resolution_is_read(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    for edge in engine.context.edges:
        request = Request(turns(captioner, ["Describe."], 4), FRAMES, Decoding().sampling_params(), longest_edge=edge)
        completion = engine.submit(request).result()
        assert completion.text == said(CARDS)
        assert completion.fit is not None
        assert completion.prompt_tokens == completion.fit.prompt_tokens


def test_every_frame_of_a_video_worded_prompt_is_read_in_order(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    for order in ([0, 1, 2], [3, 1, 0, 2]):
        clip = Clip(tuple(1500.0 * n for n in range(len(order))), 9000)
        frames = [FRAMES[n] for n in order]
        request = Request(turns(captioner, ["Describe."], len(order)), frames, Decoding().sampling_params(), clip=clip)
        assert engine.submit(request).result().text == said([CARDS[n] for n in order])


def test_a_clip_without_a_time_for_every_frame_is_refused(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    request = Request(turns(captioner, ["?"], 2), FRAMES[:2], ONE_TOKEN, clip=Clip((0,), 1000))
    with pytest.raises(PromptRefused, match="1 places for 2 frame"):
        engine.submit(request).result()


def test_user_only_keeps_room_for_every_reply(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    answer = (engine.context_length - 300) // 2
    conversation = turns(captioner, ["What?", "And again?"], 4, mode="user-only")
    sampling = Decoding(max_new_tokens=answer).sampling_params()
    completion = engine.submit(Request(conversation, FRAMES, sampling, overflow="shrink")).result()
    assert completion.fit is not None
    assert (completion.fit.longest_edge, completion.fit.max_new_tokens) == (engine.context.own_edge, answer)
    with pytest.raises(PromptRefused, match="too long"):
        engine.submit(Request(conversation, FRAMES * 20, sampling, overflow="skip")).result()


def test_a_seed_repeats_a_caption_whatever_else_runs(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    wild = Decoding(max_new_tokens=30, temperature=2.0, top_k=0, seed=7)
    pixels = np.random.default_rng(8).integers(0, 255, (2, 480, 640, 3), dtype=np.uint8)
    noise = [Image.fromarray(frame) for frame in pixels]  # of cards the model is too sure

    def ask(sampling: Any) -> Any:
        return engine.submit(Request(turns(captioner, ["Describe."], 2), noise, sampling))

    alone = ask(wild.sampling_params("tf_1", 0)).result().text
    others = [ask(Decoding(max_new_tokens=9 + n, temperature=2.0, seed=n).sampling_params()) for n in range(6)]
    among = ask(wild.sampling_params("tf_1", 0))
    others += [ask(Decoding(max_new_tokens=40, temperature=2.0).sampling_params()) for n in range(6)]
    assert among.result().text == alone
    for other in others:
        answered(other)
    for different in (wild.sampling_params("tf_2", 0), wild.sampling_params("tf_1", 1)):
        assert ask(different).result().text != alone


def test_text_and_one_and_several_images_in_one_batch(captioner: SmolVLM2Captioner) -> None:
    groups = [[], FRAMES[:1], FRAMES, [], FRAMES[2:], FRAMES[3:]]
    together = captioner.generate(["Describe."], images=groups)
    assert together == [captioner.generate(["Describe."], images=[group])[0] for group in groups]
    shown = [(1, CARDS[:1]), (2, CARDS), (4, CARDS[2:]), (5, CARDS[3:])]
    for number, cards in shown:
        assert together[number] == said(cards)
    assert together[0] == together[3] == captioner.generate(["Describe."])[0]


def test_generate_takes_the_parameters_of_framing(captioner: SmolVLM2Captioner, engine: Engine) -> None:
    answer = captioner.generate(["Describe."], images=[FRAMES], longestEdge=engine.context.tile_edge)
    assert answer == [said(CARDS)]
    with pytest.raises(ValueError, match='"longestEdge" must be one of 64, 128 px'):
        captioner.generate(["Describe."], images=[FRAMES], longestEdge=100)
    with pytest.raises(ValueError, match='"contextOverflow" must be one of'):
        captioner.generate(["Describe."], images=[FRAMES], contextOverflow="drop")
    with pytest.raises(ValueError, match="needs the times"):
        captioner.generate(["Describe."], images=[FRAMES], frameFormat="video")
    with pytest.warns(UserWarning, match=r"Prompt 2: its 4 frames were shrunk from 128 to 64 px"):
        answer = captioner.generate(["Describe."], images=[[], FRAMES], maxNewTokens=engine.context_length - 100)
    assert answer[1] == said(CARDS)


def test_the_bytes_that_a_prompt_will_hold_are_known_beforehand(captioner: SmolVLM2Captioner, real: Engine) -> None:
    answering, generation = real._prompts._answering, real._generation
    assert generation is not None
    for edge in (0, *real.context.edges):
        frames = [Image.new("RGB", SD), Image.new("RGB", (300, 700))]
        request = Request(turns(captioner, ["Describe."], 2), frames, ONE_TOKEN, longest_edge=edge)
        fit = answering.fit(request)
        rendered = asyncio.run(generation.render(answering._prompt(request.turns[0], request, fit)))
        measured = size_of(rendered)
        tiles = answering._tiles(request, fit)
        assert measured == pytest.approx(tiles * 384 * 384 * (3 * 4 + 1), rel=0.001)  # float32, and a mask of bytes
        assert answering.held(request, fit) == pytest.approx(measured, rel=0.001)
