"""How sure the model was of what it said."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Confidence:
    """
    Probabilities of the tokens of a reply, the one that ends it included.

    They are the model's own, before temperature, top-p, top-k and repetition penalty: of what was said, how much the
    model meant it, however it was drawn. Where a reply has to have a form, they are shares among the tokens that the
    form allows at that place.

    :param mean: their geometric mean
    :param lowest: that of the least likely token
    """

    mean: float
    lowest: float

    @classmethod
    def of(cls, tokens: Sequence[int], logprobs: Sequence[Mapping[int, Any]]) -> Self:
        """
        Take the log-probabilities of ``tokens`` out of what vLLM tells of each place, from the first one on.

        :param logprobs: for each place, by token, something with a ``logprob``
        """
        own = [float(place[token].logprob) for token, place in zip(tokens, logprobs)]
        return cls(math.exp(math.fsum(own) / len(own)), math.exp(min(own)))
