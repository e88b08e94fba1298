"""How well the demo model reads fresh frames after H.264: `python -m demo.evaluate [FOLDER] [--quick]`.

`held_out_frames` and `make_cases` give frames, prompts and the expected answers to any engine; `answer` runs them
through transformers.
"""

import argparse
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from demo.cards import Card, Jitter, caption, draw_card
from demo.conversations import Message, message, video_parts
from demo.pixels import random_cards
from demo.skeleton import LONGEST_EDGE, TILE
from demo.texts import DEFAULT_PROMPT, NO_IMAGE_ANSWER, SYSTEM_PROMPTS, preset_prompts, random_text

FOLDER = Path(__file__).resolve().parent / "model"
HELD_OUT = 977  # the seed of the frames of every published table; training never uses it
COUNTS = (1, 2, 3, 4, 6, 8, 10)
Frame = tuple[Image.Image, Card]


@dataclass
class Case:
    """One prompt over some frames.

    `messages` are SmolVLM chat messages whose contents are lists of parts. A `content` of None stands for an answer
    that the model has to give first. The last answer, which `expected` is, follows the last message.
    """

    form: str
    images: list[Image.Image]
    messages: list[Message]
    expected: str
    longest_edge: int  # px, what `size` of the image processor has to say
    replies: list[str] = field(default_factory=list)

    @property
    def split(self) -> bool:
        """Whether the frames are cut into tiles."""
        return self.longest_edge > TILE


def held_out_frames(count: int, seed: int = HELD_OUT, size: tuple[int, int] = (640, 480)) -> list[Frame]:
    """Fresh frames: drawn, encoded as H.264 with six frames a card and a key frame every 30, and decoded.

    :returns: the fifth frame of every card, RGB, with the card; half the cards as in a broadcast, half out of place
    """
    rng = random.Random(seed)
    cards = random_cards(rng, count)
    rng.shuffle(cards)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "26", "threads": "1"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 30
        for card in cards:
            jitter = Jitter.random(rng, 0.6) if rng.random() < 0.5 else Jitter(scene=rng.randrange(1 << 16))
            picture = av.VideoFrame.from_image(draw_card(card, size, jitter)).reformat(format="yuv420p")
            for _ in range(6):
                picture.pts = None
                container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        images = [frame.to_image() for number, frame in enumerate(container.decode(video=0)) if number % 6 == 4]
    return list(zip(images, cards, strict=True))


def forms() -> list[str]:
    """The names of the forms of prompt that `make_cases` knows."""
    return [
        "default",
        *(f"preset {name}" for name in preset_prompts()),
        "system",
        "turn-taking",
        "user-only",
        "video",
        "long text",
        "short",
    ]


def make_messages(form: str, count: int, rng: random.Random) -> list[Message]:
    """The messages of one prompt over `count` frames, in a form of `forms()`."""
    if form == "default":
        return [message("user", DEFAULT_PROMPT, count)]
    if form.startswith("preset "):
        return [message("user", preset_prompts()[form.removeprefix("preset ")], count)]
    if form == "system":
        return [message("system", rng.choice(SYSTEM_PROMPTS)), message("user", DEFAULT_PROMPT, count)]
    if form == "turn-taking":
        turns = [message("user", "What do you see?"), message("assistant", "A card.")]
        return [*turns, message("user", "Describe these frames.", count)]
    if form == "user-only":
        turns = [message("user", DEFAULT_PROMPT, count), {"role": "assistant", "content": None}]
        return [*turns, message("user", "And now in one line.")]
    if form == "video":
        first = rng.randrange(3000)
        times = [first + 2 * i for i in range(count)]
        return [{"role": "user", "content": video_parts(times, times[-1] + rng.randrange(1, 600), DEFAULT_PROMPT)}]
    if form == "long text":
        return [message("user", random_text(rng, 150), count)]
    if form == "short":
        return [message("user", "Describe these frames.", count)]
    raise ValueError(f"unknown form of prompt {form!r}: forms are {forms()}")


def make_cases(form: str, count: int, number: int, split: bool, frames: Sequence[Frame], seed: int = 0) -> list[Case]:
    """`number` prompts of one form over `count` frames each, drawn from `frames`; half of them neighbours there.

    :param split: whether at the default resolution, where a frame is several tiles, or at one tile a frame
    """
    rng = random.Random(f"{form} {count} {split} {seed}")
    cases = []
    for index in range(number):
        start = rng.randrange(len(frames) - count + 1)
        chosen = list(frames[start : start + count]) if index % 2 else rng.choices(frames, k=count)
        expected = caption([card for _, card in chosen]) if chosen else NO_IMAGE_ANSWER
        images = [image for image, _ in chosen]
        cases.append(Case(form, images, make_messages(form, count, rng), expected, LONGEST_EDGE if split else TILE))
    return cases


def right_phrases(expected: str, answer: str) -> tuple[int, int]:
    """How many phrases of an answer are exactly right in their places, and how many there should be."""
    wanted, given = expected.split("; "), answer.strip().split("; ")
    right = sum(a == b for a, b in zip(wanted, given, strict=False))
    return (right if len(given) == len(wanted) else max(0, right - 1)), len(wanted)


def load(folder: Path = FOLDER, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """The model and its processor, by transformers' own automatic classes."""
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval(), AutoProcessor.from_pretrained(
        folder
    )


@torch.no_grad()
def answer(model: Any, processor: Any, cases: Sequence[Case]) -> list[str]:
    """The model's greedy answers to cases of one form and one number of frames, through transformers."""
    processor.tokenizer.padding_side = "left"
    replies: list[list[str]] = [[] for _ in cases]
    stops = [i for i, entry in enumerate(cases[0].messages) if entry["content"] is None] + [len(cases[0].messages)]
    for stop in stops:
        texts = []
        for case, given in zip(cases, replies, strict=True):
            said = iter(given)
            turns = [
                entry if entry["content"] is not None else message("assistant", next(said))
                for entry in case.messages[:stop]
            ]
            texts.append(processor.apply_chat_template(turns, add_generation_prompt=True))
        images = [case.images for case in cases] if cases[0].images else None
        size = {"images_kwargs": {"size": {"longest_edge": cases[0].longest_edge}}} if images else {}
        inputs = processor(text=texts, images=images, padding=True, return_tensors="pt", **size)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        tokens = model.generate(**inputs, max_new_tokens=9 * max(1, len(cases[0].images)) + 8, do_sample=False)
        out = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for given, text in zip(replies, out, strict=True):
            given.append(text.strip())
    return [given[-1] for given in replies]


@dataclass
class Score:
    """Phrases counted in one cell of the table."""

    right: int = 0
    total: int = 0

    def add(self, right: int, total: int) -> None:
        """Counts more phrases."""
        self.right, self.total = self.right + right, self.total + total

    def __str__(self) -> str:
        return f"{100 * self.right / self.total:.1f}" if self.total else "-"


Scores = dict[tuple[str, bool, int], Score]  # by form, split, frames a prompt


def evaluate(
    model: Any,
    processor: Any,
    frames: Sequence[Frame],
    *,
    counts: Sequence[int] = COUNTS,
    phrases: int = 96,
    batch: int = 16,
    only: Sequence[str] | None = None,
    splits: Sequence[bool] = (False, True),
) -> Scores:
    """About `phrases` phrases for every form, number of frames, and both resolutions (video wording: one tile only)."""
    scores: Scores = {}
    for form in only or forms():
        for split in splits:
            if form == "video" and split:
                continue
            for count in counts:
                score = scores[form, split, count] = Score()
                cases = make_cases(form, count, max(8, phrases // count), split, frames)
                for start in range(0, len(cases), batch):
                    part = cases[start : start + batch]
                    for case, text in zip(part, answer(model, processor, part), strict=True):
                        score.add(*right_phrases(case.expected, text))
    return scores


def table(scores: Scores) -> str:
    """Percent of phrases exactly right, as Markdown: a row per form and resolution, a column per number of frames."""
    counts = sorted({count for _, _, count in scores})
    lines = [
        "| prompt | frames cut into tiles | " + " | ".join(map(str, counts)) + " |",
        "|---|---|" + "---|" * len(counts),
    ]
    for form, split in dict.fromkeys((form, split) for form, split, _ in scores):
        cells = " | ".join(str(scores.get((form, split, count), "-")) for count in counts)
        lines.append(f"| {form} | {'yes' if split else 'no'} | {cells} |")
    totals: list[str] = []
    for count in counts:
        whole = Score()
        for (_, _, n), score in scores.items():
            if n == count:
                whole.add(score.right, score.total)
        totals.append(str(whole))
    lines.append("| all | | " + " | ".join(totals) + " |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--phrases", type=int, default=96, help="per cell of the table")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, processor = load(arguments.folder)
    print(table(evaluate(model, processor, held_out_frames(400), phrases=arguments.phrases)), flush=True)


if __name__ == "__main__":
    main()
