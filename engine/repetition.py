"""A reply that goes in circles, cut where it begins to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.sampling_params import RepetitionDetectionParams


def first_round(tokens: Sequence[int], detection: "RepetitionDetectionParams") -> int:
    """
    Count the tokens up to the end of the first round of the pattern with which a reply ends.

    :param tokens: a reply that vLLM ended because it repeats itself
    :param detection: what vLLM was told to take for that
    """
    for period in range(1, detection.max_pattern_size + 1):
        start = len(tokens) - period
        while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
            start -= 1
        if len(tokens) - start >= detection.min_count * max(period, detection.min_pattern_size):
            return start + period
    return len(tokens)
