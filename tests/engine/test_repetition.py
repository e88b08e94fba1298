"""Where a reply that goes in circles is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import RepetitionDetectionParams
from vllm.v1.core.sched.utils import check_sequence_repetition

from engine.repetition import first_round
from sampling.decoding import Decoding

DETECTION: RepetitionDetectionParams = Decoding(repetition_guard=True).sampling_params().repetition_detection


def ends(tokens: list[int]) -> list[int]:
    """The tokens up to where vLLM would end them, which has to be somewhere."""
    for end in range(1, len(tokens) + 1):
        if check_sequence_repetition(tokens[:end], DETECTION):
            return tokens[:end]
    pytest.fail("vLLM sees no repetition")


@pytest.mark.parametrize("period", [1, 2, 3, 7, 8, 9, 30, 64])
@pytest.mark.parametrize("before", [0, 1, 50])
def test_the_pattern_is_kept_once(period: int, before: int) -> None:
    start = list(range(1000, 1000 + before))
    tokens = ends(start + list(range(period)) * 30)
    assert tokens[: first_round(tokens, DETECTION)] == start + list(range(period))


def test_a_pattern_that_sets_in_halfway_is_kept_from_where_it_does() -> None:
    tokens = ends([9, 3, 4, 5, *[1, 2, 3, 4, 5] * 9])
    assert tokens[: first_round(tokens, DETECTION)] == [9, 3, 4, 5, 1, 2]


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_what_is_cut_off_is_what_stands_before_it_over_and_over(start: list[int], pattern: list[int]) -> None:
    tokens = ends(start + pattern * 40)
    kept = first_round(tokens, DETECTION)
    periods = [p for p in range(1, kept + 1) if all(tokens[i] == tokens[i - p] for i in range(kept, len(tokens)))]
    assert periods  # nothing is lost that can't be read off what is kept
    assert len(tokens) - kept >= 16


def test_what_does_not_repeat_itself_is_kept_whole() -> None:
    assert first_round(range(40), DETECTION) == 40


@pytest.mark.parametrize(
    "tokens",
    [
        [0, 0, 10] * 3 + [0, 0],  # a time code, 00:00:00:00
        [1, *[0] * 15],  # a number with many zeros
        [*range(30)] * 2,  # said twice, as in a refrain
    ],
)
def test_what_repeats_itself_for_a_reason_is_no_loop(tokens: list[int]) -> None:
    assert not check_sequence_repetition(tokens, DETECTION)
