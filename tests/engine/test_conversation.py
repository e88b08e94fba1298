"""The chat text is, token for token, what transformers makes of the same messages."""

from typing import Any

import pytest
from clams import ClamsPromptableApp
from transformers import AutoProcessor

from engine.conversation import chat_text, with_replies
from models import DEMO


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(DEMO)


def messages_of(prompt: list[str], system: str = "", frames: int = 0, mode: str = "turn-taking") -> Any:
    # build_conversation uses nothing of the instance
    return ClamsPromptableApp.build_conversation(
        object.__new__(Bare), prompt, system, [None] * frames, prompt_mode=mode
    )


class Bare(ClamsPromptableApp):
    def _appmetadata(self) -> None: ...
    def _annotate(self, mmif: Any, **parameters: Any) -> None: ...
    def generate(self, *args: Any, **kwargs: Any) -> None: ...


CONVERSATIONS = {
    "one shot": messages_of(["What is this?"], frames=1),
    "several images": messages_of(["What are these?"], frames=4),
    "text only": messages_of(["Who are you?"]),
    "system prompt": messages_of(["What is this?"], "Be brief.", frames=2),
    "turn-taking": messages_of(["A?", "B.", "C?"], "Be brief.", frames=2),
    "turn-taking, ends with a ready answer": messages_of(["A?", "B."], frames=1),
    "user-only": with_replies(messages_of(["A?", "B?", "C?"], "Sys", frames=2, mode="user-only")[2], ["one", "two"]),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_equals_transformers(processor: Any, name: str) -> None:
    messages = CONVERSATIONS[name]
    parts = [
        {**m, "content": [{"type": "text", "text": m["content"]}] if isinstance(m["content"], str) else m["content"]}
        for m in messages
    ]
    theirs = processor.apply_chat_template(parts, add_generation_prompt=True, tokenize=False)
    ours = chat_text(processor, messages)
    assert processor.tokenizer(ours).input_ids == processor.tokenizer(theirs).input_ids
    assert ours == theirs


def test_the_shape_smolvlm2_was_trained_on(processor: Any) -> None:
    assert chat_text(processor, CONVERSATIONS["turn-taking"]) == (
        "<|im_start|>System: Be brief.<end_of_utterance>\n"
        "User: A?<end_of_utterance>\n"
        "Assistant: B.<end_of_utterance>\n"
        "User:<image><image>C?<end_of_utterance>\n"
        "Assistant:"
    )


def test_user_only_puts_images_into_the_first_turn_and_replies_between(processor: Any) -> None:
    assert chat_text(processor, CONVERSATIONS["user-only"]) == (
        "<|im_start|>System: Sys<end_of_utterance>\n"
        "User:<image><image>A?<end_of_utterance>\n"
        "Assistant: one<end_of_utterance>\n"
        "User: B?<end_of_utterance>\n"
        "Assistant: two<end_of_utterance>\n"
        "User: C?<end_of_utterance>\n"
        "Assistant:"
    )


def test_too_few_replies_are_an_error() -> None:
    with pytest.raises(ValueError, match="1 replies are not enough"):
        with_replies(messages_of(["A?", "B?", "C?"], mode="user-only")[2], ["one"])
