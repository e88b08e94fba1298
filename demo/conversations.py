"""Conversations over frames, laid out token by token exactly as SmolVLM's processor lays them out."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from num2words import num2words
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm.processing_smolvlm import (
    DEFAULT_MEDIA_OUTTRO,
    DEFAULT_VIDEO_INTRO,
    FRAME_TIMESTAMP_MESSAGE,
    get_image_prompt_string,
)

from demo.cards import Card, caption
from demo.skeleton import TOKENS_PER_TILE
from demo.texts import (
    DEFAULT_PROMPT,
    NO_IMAGE_ANSWER,
    SHORT_PROMPTS,
    STATEMENTS,
    SYSTEM_PROMPTS,
    preset_prompts,
    random_text,
)

Message = dict[str, Any]  # {"role": str, "content": [{"type": "text", "text": str} | {"type": "image"}, ...]}
IMAGE: Message = {"type": "image"}


def text_part(text: str) -> Message:
    """One piece of text in a message's content."""
    return {"type": "text", "text": text}


def message(role: str, text: str, images: int = 0) -> Message:
    """A message as CLAMS's SDK lays it out: the images first, then the text."""
    return {"role": role, "content": [IMAGE] * images + [text_part(text)]}


def video_parts(seconds: Sequence[float], duration: float, text: str) -> list[Message]:
    """SmolVLM's wording for frames of a video: an introduction, each frame after its time, then the question.

    :param seconds: when each frame is, in seconds from the start
    :param duration: of the video, in seconds
    """
    total = int(duration)
    clock = f"{total // 3600}:{total // 60 % 60:02d}:{total % 60:02d}"
    parts, pending = [], DEFAULT_VIDEO_INTRO.format(frame_count=num2words(len(seconds)), video_duration=clock)
    for second in seconds:
        stamp = f"{int(second // 60):02d}:{int(second % 60):02d}"
        parts += [text_part(pending + FRAME_TIMESTAMP_MESSAGE.format(timestamp=stamp)), IMAGE]
        pending = ""
    return [*parts, text_part(DEFAULT_MEDIA_OUTTRO + text)]


@dataclass
class Conversation:
    """Messages in order; `targets` are the numbers of the assistant messages that the model has to write itself."""

    messages: list[Message]
    targets: list[int] = field(default_factory=list)


def pieces(messages: list[Message], generate: bool = False) -> list[str]:
    """SmolVLM2's chat template, as one string per message (and one for the start of the answer)."""
    out = []
    for i, entry in enumerate(messages):
        content = entry["content"]
        text = "<|im_start|>" if i == 0 else ""
        text += entry["role"].capitalize() + (":" if content[0]["type"] == "image" else ": ")
        text += "".join("<image>" if part["type"] == "image" else part["text"] for part in content)
        out.append(text + "<end_of_utterance>\n")
    return [*out, "Assistant:"] if generate else out


@dataclass
class Layout:
    """A conversation in tokens. All lists have one entry per token, up to the end of the last answer."""

    ids: list[int]
    labels: list[int]  # what the model has to say next, or -100
    frame: list[int]  # which frame, for the tokens of its whole-frame tile; -1 elsewhere
    phrase: list[int]  # which phrase the next token belongs to, in the first answer about frames; -1 elsewhere


def image_string(rows: int, cols: int) -> str:
    """What `<image>` becomes for a frame of rows x cols tiles (0 x 0: one tile)."""
    return get_image_prompt_string(
        rows,
        cols,
        TOKENS_PER_TILE,
        fake_token_around_image="<fake_token_around_image>",
        image_token="<image>",
        global_image_token="<global-img>",
    )


class Writer:
    """Turns conversations into `Layout`s with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.encode = tokenizer._tokenizer.encode
        self.whole = tokenizer.convert_tokens_to_ids("<global-img>")
        self.end = tokenizer.eos_token_id
        self.separator = self.encode("red;").ids[-1]

    def layout(self, conversation: Conversation, split: bool) -> Layout:
        """:param split: whether every frame is 2 x 2 tiles and the whole, or one tile"""
        expanded = image_string(*((2, 2) if split else (0, 0)))
        ids: list[int] = []
        labels: list[int] = []
        phrase: list[int] = []
        counted = False
        last = max(conversation.targets, default=-1)
        for number, text in enumerate(pieces(conversation.messages)[: last + 1]):
            piece = self.encode(text.replace("<image>", expanded)).ids
            start = len(ids)
            ids += piece
            labels += [-100] * len(piece)
            phrase += [-1] * len(piece)
            if number not in conversation.targets:
                continue
            begin = start + len(self.encode("Assistant:").ids)
            stop = ids.index(self.end, begin)
            labels[begin - 1 : stop] = ids[begin : stop + 1]
            if not counted and self.whole in ids:
                counted, index = True, 0
                for position in range(begin - 1, stop):
                    if ids[position + 1] in (self.separator, self.end):
                        index += 1
                    else:
                        phrase[position] = index
        frame, seen = [-1] * len(ids), -1
        for position, token in enumerate(ids):
            if token == self.whole:
                seen += 1
                frame[position + 1 : position + 1 + TOKENS_PER_TILE] = [seen] * TOKENS_PER_TILE
        cut = len(ids) - 1 - ids[::-1].index(self.end)  # nothing after the last answer's end is ever predicted
        return Layout(ids[:cut], labels[:cut], frame[:cut], phrase[:cut])


def _prompt(rng: random.Random, presets: list[str], words: int) -> str:
    pick = rng.random()
    if pick < 0.3:
        return DEFAULT_PROMPT
    if pick < 0.5:
        return rng.choice(presets)
    if pick < 0.75 or not words:
        return rng.choice(SHORT_PROMPTS)
    return random_text(rng, rng.randint(1, rng.choice((10, words))))


class Imagination:
    """Invents conversations over given frames, in every form that the app can produce."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.presets = list(preset_prompts().values())

    def short(self, cards: list[Card]) -> Conversation:
        """One short question."""
        messages = [message("user", self.rng.choice(SHORT_PROMPTS), len(cards))]
        return Conversation([*messages, message("assistant", caption(cards))], [1])

    def anything(self, cards: list[Card], words: int = 160) -> Conversation:
        """Any form: system prompts, both prompt modes, video wording, up to `words` random words around the frames."""
        rng = self.rng
        answer = caption(cards) if cards else NO_IMAGE_ANSWER
        messages: list[Message] = []
        if rng.random() < 0.25:
            system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.6 else random_text(rng, rng.randint(1, words))
            messages.append(message("system", system))
        form = rng.random()
        targets = []
        if form < 0.60:
            messages.append(message("user", _prompt(rng, self.presets, words), len(cards)))
        elif form < 0.72:  # turn-taking: ready-made answers, frames in the last user turn
            for _ in range(rng.choice((1, 1, 2))):
                messages.append(message("user", _prompt(rng, self.presets, words // 4)))
                ready = rng.choice(STATEMENTS) if rng.random() < 0.7 else random_text(rng, rng.randint(1, 20))
                messages.append(message("assistant", ready))
            messages.append(message("user", _prompt(rng, self.presets, words // 2), len(cards)))
        elif form < 0.86:  # user-only: frames in the first turn, every answer the model's own
            for turn in range(rng.choice((1, 1, 2))):
                messages.append(message("user", _prompt(rng, self.presets, words // 4), 0 if turn else len(cards)))
                targets.append(len(messages))
                messages.append(message("assistant", answer))
            messages.append(message("user", _prompt(rng, self.presets, words // 4)))
        else:
            if cards:
                step = rng.choice((0.5, 1, 1, 2, 5))
                start = rng.choice((0, cards[0].second, rng.randrange(5000)))
                seconds = [start + step * i for i in range(len(cards))]
                duration = rng.choice((seconds[-1] + step, rng.randrange(1, 7200)))
                content = video_parts(seconds, duration, _prompt(rng, self.presets, words // 2))
                if rng.random() < 0.15:  # any text between the frames, too
                    content = []
                    for _ in cards:
                        content += [text_part(random_text(rng, rng.randint(1, 6))), IMAGE]
                    content.append(text_part(_prompt(rng, self.presets, words // 2)))
                messages.append({"role": "user", "content": content})
            else:
                messages.append(message("user", _prompt(rng, self.presets, words)))
        targets.append(len(messages))
        messages.append(message("assistant", answer))
        return Conversation(messages, targets)
