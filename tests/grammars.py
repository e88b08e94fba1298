"""Replies under a grammar without a model: every token that is allowed is as likely as every other."""

import functools
import random
from typing import Any

import llguidance.hf
import llguidance.torch
import numpy as np

from bench import geometry


@functools.cache
def _tokenizer() -> Any:
    return llguidance.hf.from_tokenizer(geometry.tokenizer(), geometry.VOCABULARY)


def reply(grammar: str, seed: int, most: int) -> tuple[str, bool]:
    """
    Draw a reply, in the real tokenizer's tokens.

    :param most: tokens
    :returns: the text, and whether it came to its end
    """
    words, draw, said = geometry.tokenizer(), random.Random(seed), list[int]()
    matcher = llguidance.LLMatcher(_tokenizer(), llguidance.grammar_from("grammar", grammar), log_level=0)
    mask = llguidance.torch.allocate_token_bitmask(1, _tokenizer().vocab_size)
    for _ in range(most):
        llguidance.torch.fill_next_token_bitmask(matcher, mask, 0)
        assert not matcher.is_error(), matcher.get_error()
        allowed = np.unpackbits(mask.numpy().view(np.uint8), bitorder="little").nonzero()[0]
        token = int(draw.choice(allowed))
        if token == words.eos_token_id:
            return words.decode(said), True
        assert matcher.consume_token(token)
        said.append(token)
    return words.decode(said), matcher.is_accepting()
