"""Chat messages to the text that SmolVLM2 was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Clip:
    """
    When the frames of a prompt are, for SmolVLM2's video wording.

    :param times: of each frame, in ms from the start of the clip
    :param duration: of the clip, in ms
    """

    times: tuple[float, ...]
    duration: float

    def last(self, frames: int) -> "Clip":
        """Return the clip with its last ``frames`` only, whose times are the longest to write; its duration stays."""
        return Clip(self.times[len(self.times) - frames :], self.duration)


def with_replies(messages: Sequence[Message], replies: Sequence[str]) -> list[Message]:
    """
    Fill the assistant turns that are still open (``content`` is ``None``) with ``replies``, in order.

    :raises ValueError: if there are more open turns than replies
    """
    given = iter(replies)
    filled: list[Message] = []
    for message in messages:
        if message["content"] is None:
            reply = next(given, None)
            if reply is None:
                raise ValueError(f"{len(replies)} replies are not enough for the open assistant turns")
            message = {**message, "content": reply}
        filled.append(message)
    return filled


def chat_text(processor: Any, messages: Sequence[Message], clip: Clip | None = None) -> str:
    """
    Apply the processor's chat template, with one ``<image>`` for each frame, up to the assistant's turn.

    SmolVLM2's template reads parts only: a content that is a plain string, as the SDK makes for system and assistant
    turns, would leave its text out of the prompt without a word.

    :param processor: the model's processor in transformers
    :param messages: chat messages, each with ``role`` and ``content`` (text, or a list of image and text parts)
    :param clip: words the frames as those of a video; it has as many as there are image parts, all in one message
    """
    parts = [{"role": message["role"], "content": _parts(message["content"])} for message in messages]
    if clip is not None:
        for message in parts:
            message["content"] = _as_video(processor, message["content"], clip)
    template = processor.chat_template
    text = processor.tokenizer.apply_chat_template(
        parts, chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return str(text)


def answer_text(processor: Any, answer: str) -> str:
    """
    Return an answer as the chat template writes it behind the assistant's turn, up to the end of the utterance.

    The space before it belongs to it: " slate" is another token than "slate", and the one that the model expects.
    """
    asked = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    told = [*asked, {"role": "assistant", "content": [{"type": "text", "text": answer}]}]
    whole = processor.tokenizer.apply_chat_template(told, chat_template=processor.chat_template, tokenize=False)
    return str(whole[len(chat_text(processor, asked)) : whole.rindex(processor.tokenizer.eos_token)])


def with_frames(messages: Sequence[Message], frames: int) -> list[Message]:
    """Return the messages with their first ``frames`` image parts only."""
    left = iter(range(frames))
    return [
        message
        if isinstance(message["content"], str)
        else {
            **message,
            "content": [p for p in message["content"] if p["type"] != "image" or next(left, None) is not None],
        }
        for message in messages
    ]


def _as_video(processor: Any, parts: list[dict[str, str]], clip: Clip) -> list[dict[str, str]]:
    """Put the processor's own wording of a video, cut at its frames, in the place of a message's images."""
    images = [number for number, part in enumerate(parts) if part["type"] == "image"]
    if not images:
        return parts
    seconds = [time / 1000 for time in clip.times]
    asked = {
        "pixel_values": SimpleNamespace(shape=(1, len(seconds))),  # nothing but the number of frames is read of it
        "video_metadata": [SimpleNamespace(fps=1, timestamps=seconds, duration=clip.duration / 1000)],
    }
    frame = processor.replace_image_token({"rows": [[0]], "cols": [[0]]}, 0)
    first, *others = processor.replace_video_token(asked, 0).split(frame)
    worded = [{"type": "text", "text": first}]
    for text in others:
        worded += [{"type": "image"}, {"type": "text", "text": text}]
    return parts[: images[0]] + worded + [part for part in parts[images[0] :] if part["type"] != "image"]


def _parts(content: str | Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [
        {"type": "image"} if part["type"] == "image" else {"type": "text", "text": part["text"]} for part in content
    ]
