"""Statistics on samples whose answers are known."""

import itertools
import random
import statistics
import time

import pytest

from bench.samples import (
    TOO_FEW,
    WITHIN_NOISE,
    Figure,
    Interval,
    median_interval,
    percentile,
    ratio_of_independent,
    ratio_of_neighbours,
    verdict,
)


# The ranks of the sign test's bounds at 95 %, as statistical tables print them.
@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (25, 8)])
def test_the_bounds_of_a_median_are_those_of_the_sign_test(count: int, rank: int) -> None:
    samples = list(range(1, count + 1))
    random.Random(0).shuffle(samples)
    found = median_interval(samples)
    assert found.value == statistics.median(samples)
    assert (found.low, found.high) == (rank, count + 1 - rank)
    assert found.confidence >= 0.95


@pytest.mark.parametrize(("count", "confidence"), [(1, 0), (2, 0.5), (3, 0.75), (5, 0.9375)])
def test_few_samples_give_all_they_have_and_say_how_little_that_is(count: int, confidence: float) -> None:
    found = median_interval(range(count))
    assert (found.low, found.high, found.confidence) == (0, count - 1, confidence)


def test_many_samples_of_a_round_count_as_one() -> None:
    assert Figure("s", (1, 2, 9, 4, 5, 6), rounds=2).by_round == (2, 5)
    assert Figure("s", (1, 2, 9)).by_round == (1, 2, 9)
    assert Figure("s", (1, 2, 9), rounds=1).interval == Interval(2, 2, 2, 0)
    with pytest.raises(ValueError, match="5 samples can't be of 2 rounds"):
        Figure("s", (1, 2, 3, 4, 5), rounds=2)


def test_no_samples_have_no_median() -> None:
    with pytest.raises(ValueError, match="no samples"):
        median_interval([])


def test_bounds_of_a_median_hold_as_often_as_they_say() -> None:
    dice = random.Random(1)
    tries = [median_interval([dice.expovariate(1) for _ in range(12)]) for _ in range(2000)]
    held = sum(found.low <= 0.6931 <= found.high for found in tries) / len(tries)
    assert abs(held - tries[0].confidence) < 0.015


def test_the_bounds_of_a_ratio_leave_out_as_many_pairs_as_the_rank_sum_test_says() -> None:
    # For two groups of 5 the table of Mann and Whitney's U has 2 at 5 %, two-sided: the third pair is the bound.
    numerator, denominator = [10, 20, 40, 80, 160], [1, 3, 9, 27, 81]
    ratios = sorted(over / under for over, under in itertools.product(numerator, denominator))
    found = ratio_of_independent(numerator, denominator)
    assert (found.low, found.value, found.high) == (ratios[2], statistics.median(ratios), ratios[-3])
    assert found.confidence == pytest.approx(1 - 2 * 4 / 252)  # of 252 orders, 4 have a U of at most 2


def test_a_ratio_of_three_to_three_cannot_be_as_sure_as_asked() -> None:
    found = ratio_of_independent([2, 4, 6], [1, 2, 3])
    assert (found.low, found.high) == (2 / 3, 6)
    assert found.confidence == pytest.approx(0.9)


def test_bounds_of_a_ratio_hold_as_often_as_they_say() -> None:
    dice = random.Random(2)
    tries = [
        ratio_of_independent(
            [2 * dice.lognormvariate(0, 0.3) for _ in range(7)], [dice.lognormvariate(0, 0.3) for _ in range(6)]
        )
        for _ in range(1500)
    ]
    held = sum(found.low <= 2 <= found.high for found in tries) / len(tries)
    assert abs(held - tries[0].confidence) < 0.02


def test_the_bounds_of_a_ratio_of_many_samples_take_no_time() -> None:
    """Summed up anew for every rank they took most of a minute for two groups of two hundred."""
    dice = random.Random(3)
    began = time.perf_counter()
    found = ratio_of_independent(*([dice.lognormvariate(0, 0.1) for _ in range(200)] for _ in range(2)))
    assert time.perf_counter() - began < 10
    assert found.low < 1 < found.high
    assert found.confidence == pytest.approx(0.95, abs=0.001)


@pytest.mark.parametrize("groups", [([1.0], []), ([1.0], [0.0]), ([-1.0], [1.0])])
def test_a_ratio_needs_positive_samples(groups: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ratio_of_independent(*groups)


def test_neighbours_are_compared_round_by_round() -> None:
    # The machine slows down by half, and each round's ratio stays what it is.
    assert ratio_of_neighbours([20, 15, 10], [10, 7.5, 5]) == (2, 2, 2)
    with pytest.raises(ValueError, match="can't be neighbours"):
        ratio_of_neighbours([1, 2], [1])


@pytest.mark.parametrize(
    ("ratio", "better", "words"),
    [
        (Interval(1.2, 1.1, 1.3, 0.95), "more", "better"),
        (Interval(1.2, 1.1, 1.3, 0.95), "less", "worse"),
        (Interval(0.8, 0.7, 0.9, 0.95), "less", "better"),
        (Interval(0.8, 0.7, 0.9, 0.95), "more", "worse"),
        (Interval(0.8, 0.7, 0.9, 0.95), "", "less"),
        (Interval(1.2, 0.99, 1.3, 0.95), "more", WITHIN_NOISE),
        (Interval(1.0, 1.0, 1.0, 0.95), "more", WITHIN_NOISE),
        (Interval(3.0, 2.9, 3.1, 0.75), "more", TOO_FEW),
    ],
)
def test_the_verdict_on_a_ratio(ratio: Interval, better: str, words: str) -> None:
    assert verdict(ratio, better) == words  # type: ignore[arg-type]


def test_a_percentile_is_a_sample() -> None:
    samples = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(samples, share) for share in (0, 0.2, 0.5, 0.9, 1)] == [1, 1, 3, 5, 5]
