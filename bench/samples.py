"""
What samples say: a middle, an interval, a verdict.

Intervals are rank-based, so they hold whatever the distribution, and for few samples, where a bootstrap is too sure of
itself: for a median by the sign test, for the ratio of two independent groups by the Mann-Whitney test (Hodges and
Lehmann 1963). Each carries the confidence that it really has, which with few samples is less than was asked for.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Better = Literal["more", "less", ""]

CONFIDENCE = 0.95
LEAST_CONFIDENCE = 0.9  # below, an interval decides nothing

TOO_FEW = "too few samples to tell"
WITHIN_NOISE = "within noise"


@dataclass(frozen=True)
class Interval:
    """
    A middle value and the bounds between which the true one lies.

    :param confidence: how often bounds made in this way hold it, 0 to 1
    """

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Figure:
    """
    A measured quantity.

    :param samples: in the order in which they were taken
    :param better: which way it should go, if either
    :param rounds: in which they were taken, as many in each; 0 if there is one sample of each round
    :raises ValueError: if the rounds are not of as many samples
    """

    unit: str
    samples: tuple[float, ...]
    better: Better = ""
    rounds: int = 0

    def __post_init__(self) -> None:
        if self.rounds and len(self.samples) % self.rounds:
            raise ValueError(f"{len(self.samples)} samples can't be of {self.rounds} rounds of as many.")

    @property
    def by_round(self) -> tuple[float, ...]:
        """
        A value of each round, the median of its samples.

        Two calls of one round are slow together, for reasons that the next round doesn't have: a thousand samples of
        one round say no more of how rounds differ than one does.
        """
        size = len(self.samples) // (self.rounds or len(self.samples))
        return tuple(statistics.median(self.samples[at : at + size]) for at in range(0, len(self.samples), size))

    @property
    def interval(self) -> Interval:
        """Median of the rounds and its bounds."""
        return median_interval(self.by_round)


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """
    Return the median and the closest two samples that hold the true median between them with ``confidence``, or the
    lowest and the highest where that isn't enough for it.

    :raises ValueError: without a sample
    """
    ordered = sorted(samples)
    count = len(ordered)
    if not count:
        raise ValueError("There is no median of no samples.")
    # The true median is below the k-th lowest sample if fewer than k fair coins show heads; above, likewise.
    rank, held = _bounds([math.comb(count, heads) for heads in range(count + 1)], (count + 1) // 2, confidence)
    return Interval(statistics.median(ordered), ordered[rank - 1], ordered[count - rank], held)


def ratio_of_independent(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """
    Return by how much the samples of one group are the multiple of those of another that was measured at another time.

    :raises ValueError: unless there are samples and all are positive
    """
    _check_positive(numerator, denominator)
    ratios = sorted(over / under for over, under in itertools.product(numerator, denominator))
    ways = _rank_sum_ways(len(numerator), len(denominator))
    rank, held = _bounds(ways, (len(ratios) + 1) // 2, confidence)
    return Interval(statistics.median(ratios), ratios[rank - 1], ratios[len(ratios) - rank], held)


def ratio_of_neighbours(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, ...]:
    """
    Return the ratios within each round of measurements that took turns: whatever slowed the machine down hit both.

    :raises ValueError: unless there are as many of one as of the other, all positive
    """
    _check_positive(numerator, denominator)
    if len(numerator) != len(denominator):
        raise ValueError(f"{len(numerator)} samples can't be neighbours of {len(denominator)}.")
    return tuple(over / under for over, under in zip(numerator, denominator))


def verdict(ratio: Interval, better: Better = "") -> str:
    """Say in words what a ratio of new to old means."""
    if ratio.confidence < LEAST_CONFIDENCE:
        return TOO_FEW
    if ratio.low <= 1 <= ratio.high:
        return WITHIN_NOISE
    change = "more" if ratio.value > 1 else "less"
    if not better:
        return change
    return "better" if change == better else "worse"


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the sample that ``share`` (0 to 1) of the samples do not exceed; a sample, never a value between two."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _check_positive(*groups: Sequence[float]) -> None:
    if not all(groups) or min(map(min, groups)) <= 0:
        raise ValueError("A ratio needs samples, all of them positive.")


def _bounds(ways: Sequence[int], highest: int, confidence: float) -> tuple[int, float]:
    """
    Return the highest rank whose bounds hold with ``confidence``, or the first where none does, and how often they do.

    :param ways: in how many cases what is sought lies between each rank and the one below; likewise from above
    :param highest: rank that there may be
    """
    total = sum(ways)
    held = [1 - 2 * outside / total for outside in itertools.islice(itertools.accumulate(ways), highest)]
    rank = max(1, sum(share >= confidence for share in held))
    return rank, held[rank - 1]


def _rank_sum_ways(first: int, second: int) -> list[int]:
    """In how many orders of two groups each number of pairs stands the wrong way round (Mann-Whitney's U)."""
    # Gaussian binomial: the product of (1 - x^(second + i)) / (1 - x^i) for i up to `first`, as coefficients.
    ways = [1]
    for place in range(1, first + 1):
        ways = ways + [0] * (second + place)
        for power in range(len(ways) - 1, second + place - 1, -1):
            ways[power] -= ways[power - second - place]
        for power in range(place, len(ways)):
            ways[power] += ways[power - place]
    return ways[: first * second + 1]
