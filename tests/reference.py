"""The demonstration model in transformers, in float32, without vLLM."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from engine.conversation import with_replies
from models import DEMO


class Transformers:
    """The same weights and the same processor, in the way of transformers' documentation."""

    def __init__(self) -> None:
        self.processor = AutoProcessor.from_pretrained(DEMO)
        self.model = AutoModelForImageTextToText.from_pretrained(DEMO, dtype=torch.float32).eval()

    def inputs(self, messages: Sequence[Any], frames: list[Image.Image]) -> Any:
        """The tensors of a prompt."""
        parts = [
            {
                **m,
                "content": [{"type": "text", "text": m["content"]}] if isinstance(m["content"], str) else m["content"],
            }
            for m in messages
        ]
        text = self.processor.apply_chat_template(parts, add_generation_prompt=True, tokenize=False)
        return self.processor(text=text, images=frames or None, return_tensors="pt")

    def reply(self, conversation: Any, frames: list[Image.Image]) -> str:
        """The last reply of a greedy conversation."""
        replies: list[str] = []
        for prefix in conversation:
            inputs = self.inputs(with_replies(prefix, replies), frames)
            with torch.inference_mode():
                tokens = self.model.generate(**inputs, max_new_tokens=60, do_sample=False)
            answer = tokens[0, inputs["input_ids"].shape[1] :]
            replies.append(self.processor.decode(answer, skip_special_tokens=True).strip())
        return replies[-1]

    def logits(self, messages: Sequence[Any], frames: list[Image.Image], answer: Sequence[int]) -> torch.Tensor:
        """What the model makes of each place of an answer: so many rows of a logit for each word of the vocabulary."""
        inputs = self.inputs(messages, frames)
        prompt = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([list(answer)])], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.inference_mode():
            return self.model(**inputs).logits[0, prompt - 1 : -1].float()
