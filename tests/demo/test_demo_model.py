"""The demo model: small, loadable, honest about itself, and able to read fresh frames."""

import random

import pytest
import torch

from demo.broadcast import Segment, render
from demo.cards import COLOURS, KINDS, Card, caption, draw_card
from demo.conversations import Imagination, Writer, image_string, message, pieces, video_parts
from demo.evaluate import FOLDER, Score, answer, forms, held_out_frames, load, make_cases, right_phrases, table
from demo.pixels import random_card
from demo.skeleton import LONGEST_EDGE, TILE, build_tokenizer
from demo.texts import NO_IMAGE_ANSWER

SEED = 4242  # not the seed of the published table, nor of training


@pytest.fixture(scope="module")
def loaded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads only wait for each other at this size
    yield load()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def frames():
    return held_out_frames(80, seed=SEED)


def test_folder_is_small_and_complete():
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sum(files.values()) <= 6 * 1024 * 1024
    assert {
        "README.md",
        "config.json",
        "generation_config.json",
        "chat_template.jinja",
        "model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    } <= set(files)


def test_card_says_what_it_is():
    card = (FOLDER / "README.md").read_text()
    assert "useless on real video" in card and "synthetic" in card
    assert "| default | no |" in card and "| user-only | yes |" in card


def test_it_is_a_smolvlm_with_smolvlm2s_words(loaded):
    model, processor = loaded
    assert type(model).__name__ == "SmolVLMForConditionalGeneration"
    assert type(processor).__name__ == "SmolVLMProcessor"
    tokenizer = processor.tokenizer
    special = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"]
    special += [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    assert all(len(tokenizer.encode(token)) == 1 for token in special)
    assert all(len(tokenizer.encode(f" {word}")) == 1 for word in (*KINDS, *COLOURS))
    assert len(tokenizer.encode("2024")) == 4
    text = "Ünïcödé 東京 1987; <|im_start|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<end_of_utterance>")


def test_frames_are_split_by_default_and_whole_at_one_tile(loaded):
    _, processor = loaded
    for size in ((640, 480), (640, 360), (720, 576)):
        image = draw_card(Card("slate", "red", 1), size)
        whole = processor(text=["<image>"], images=[[image]], images_kwargs={"size": {"longest_edge": TILE}})
        cut = processor(text=["<image>"], images=[[image]])
        assert len(cut["pixel_values"][0]) == 5 and len(whole["pixel_values"][0]) == 1
        assert cut["input_ids"][0] == processor.tokenizer.encode(image_string(2, 2))
        assert whole["input_ids"][0] == processor.tokenizer.encode(image_string(0, 0))
        patches = processor.image_processor.get_number_of_image_patches(*size[::-1], {"size": {"longest_edge": 128}})
        assert patches == (5, 2, 2)


def test_training_lays_conversations_out_as_the_processor_does(loaded):
    _, processor = loaded
    writer, imagination = Writer(processor.tokenizer), Imagination(SEED)
    for number in range(60):
        cards = [random_card(imagination.rng) for _ in range(number % 7)]
        split = number % 2 == 0
        conversation = imagination.anything(cards)
        text = "".join(pieces(conversation.messages))
        assert text == processor.apply_chat_template(conversation.messages)
        images = [[draw_card(card, (160, 120)) for card in cards]] if cards else None
        size = {"images_kwargs": {"size": {"longest_edge": LONGEST_EDGE if split else TILE}}} if cards else {}
        ids = processor(text=[text], images=images, **size)["input_ids"][0]
        layout = writer.layout(conversation, split)
        assert ids[: len(layout.ids)] == layout.ids
        said = [label for label in layout.labels if label >= 0]
        answer_text = " " + (caption(cards) or NO_IMAGE_ANSWER) + "<end_of_utterance>"
        assert processor.tokenizer.decode(said) == answer_text * len(conversation.targets)
        assert [layout.phrase.count(i) > 0 for i in range(len(cards))] == [True] * len(cards)


def test_video_wording_is_the_processors_own(loaded):
    import numpy as np
    from transformers.video_utils import VideoMetadata

    _, processor = loaded
    images = [draw_card(Card("bars", "blue", second), (160, 120)) for second in (60, 62, 64)]
    own = "".join(pieces([{"role": "user", "content": video_parts([60, 62, 64], 65, "Describe.")}], generate=True))
    given = processor(
        text=["<|im_start|>User: <video>Describe.<end_of_utterance>\nAssistant:"],
        videos=[[np.stack([np.asarray(image) for image in images])]],
        video_metadata=[[VideoMetadata(total_num_frames=130, fps=2.0, duration=65.0, frames_indices=[120, 124, 128])]],
        return_tensors="pt",
    )["input_ids"][0].tolist()
    ours = processor(text=[own], images=[images], images_kwargs={"size": {"longest_edge": TILE}})["input_ids"][0]
    assert given == ours


@pytest.mark.parametrize("form", forms())
def test_fresh_frames_are_read(loaded, frames, form):
    score = Score()
    for split in (False,) if form == "video" else (False, True):
        for count, prompts in ((1, 8), (3, 8), (6, 4)):
            cases = make_cases(form, count, prompts, split, frames, seed=SEED)
            for case, text in zip(cases, answer(*loaded, cases), strict=True):
                score.add(*right_phrases(case.expected, text))
    assert score.right >= 0.97 * score.total, f"{score} % of {score.total}"


def test_a_prompt_without_a_picture_gets_the_fixed_answer(loaded):
    cases = [case for form in ("default", "system", "short") for case in make_cases(form, 0, 1, False, [])]
    assert [answer(*loaded, [case])[0] for case in cases] == [NO_IMAGE_ANSWER] * 3


def test_a_broadcast_is_read(loaded, tmp_path):
    import av

    made = render(tmp_path / "short.mp4", (Segment("credits", "green", 0, 2), Segment("slate", "white", 2, 4)), gop=250)
    with av.open(str(made.path)) as container:
        decoded = [frame.to_image() for frame in container.decode(video=0)]
    instants = [500, 1500, 2500, 3500]
    (case,) = make_cases(
        "default", 4, 1, True, [(decoded[made.nearest_frame(ms)], made.card_at(ms)) for ms in instants]
    )
    case.images = [decoded[made.nearest_frame(ms)] for ms in instants]
    assert answer(*loaded, [case]) == [made.expected_caption(instants)]


def test_right_phrases_counts_places_and_lengths():
    assert right_phrases("slate 0001 red; bars 0002 blue", "slate 0001 red; bars 0002 blue") == (2, 2)
    assert right_phrases("slate 0001 red; bars 0002 blue", "bars 0002 blue; slate 0001 red") == (0, 2)
    assert right_phrases("slate 0001 red", "slate 0001 red; slate 0001 red") == (0, 1)
    assert right_phrases("slate 0001 red; bars 0002 blue", "slate 0001 red") == (0, 2)


def test_cases_repeat_by_seed_and_name_their_form(frames):
    first, again = (make_cases("video", 2, 4, False, frames, seed=1) for _ in range(2))
    assert [case.messages for case in first] == [case.messages for case in again]
    assert make_cases("video", 2, 4, False, frames, seed=2)[0].messages != first[0].messages
    with pytest.raises(ValueError, match="unknown form"):
        make_cases("sonnet", 1, 1, False, frames)
    assert "| short | yes | 50.0 |" in table({("short", True, 1): Score(1, 2)})
    assert message("user", "Hello.", 1)["content"][0] == {"type": "image"}
    assert random_card(random.Random(0)) == random_card(random.Random(0))
