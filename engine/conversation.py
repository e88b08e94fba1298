"""Chat messages to the text that SmolVLM2 was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


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


def chat_text(processor: Any, messages: Sequence[Message]) -> str:
    """
    Apply the processor's chat template, with one ``<image>`` for each image part, up to the assistant's turn.

    SmolVLM2's template reads parts only: a content that is a plain string, as the SDK makes for system and assistant
    turns, would leave its text out of the prompt without a word.

    :param processor: the model's processor in transformers
    :param messages: chat messages, each with ``role`` and ``content`` (text, or a list of image and text parts)
    """
    parts = [{"role": message["role"], "content": _parts(message["content"])} for message in messages]
    template = processor.chat_template
    text = processor.tokenizer.apply_chat_template(
        parts, chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return str(text)


def _parts(content: str | Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [{"type": "image"} if part["type"] == "image" else {"type": "text", "text": part["text"]} for part in content]
