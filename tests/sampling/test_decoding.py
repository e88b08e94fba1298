"""Each edge of the decoding parameters, and what vLLM is told."""

import pytest
from vllm.sampling_params import RequestOutputKind

from sampling.decoding import Decoding


def test_defaults_are_greedy_and_yield_once() -> None:
    params = Decoding().sampling_params()
    assert (params.temperature, params.max_tokens, params.top_p, params.top_k) == (0, 200, 1, 0)
    assert params.output_kind == RequestOutputKind.FINAL_ONLY


def test_greedy_ignores_top_p_and_top_k() -> None:
    params = Decoding(temperature=0, top_p=0.1, top_k=3).sampling_params()
    assert (params.top_p, params.top_k) == (1, 0)


def test_sampling_passes_all_on() -> None:
    params = Decoding(7, 0.7, 0.9, 40).sampling_params()
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k) == (7, 0.7, 0.9, 40)


@pytest.mark.parametrize("off", [0, -1])
def test_top_k_can_be_off(off: int) -> None:
    assert Decoding(temperature=1, top_k=off).sampling_params().top_k in (0, -1)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"max_new_tokens": 0}, "maxNewTokens"),
        ({"max_new_tokens": -5}, "maxNewTokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 0}, "topP"),
        ({"top_p": 1.01}, "topP"),
        ({"top_p": float("nan")}, "topP"),
        ({"top_k": -2}, "topK"),
        ({"repetition_penalty": 0}, "repetitionPenalty"),
        ({"repetition_penalty": 2.1}, "repetitionPenalty"),
        ({"repetition_penalty": float("nan")}, "repetitionPenalty"),
    ],
)
def test_wrong_values_are_refused_by_their_clams_name(values: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f'"{name}" must be .*; got {next(iter(values.values()))}'):
        Decoding(**values)  # type: ignore[arg-type]


def test_by_default_nothing_minds_repetition() -> None:
    params = Decoding().sampling_params()
    assert (params.repetition_penalty, params.repetition_detection) == (1, None)


def test_penalty_and_guard_are_passed_on() -> None:
    params = Decoding(repetition_penalty=1.2, repetition_guard=True).sampling_params()
    assert params.repetition_penalty == 1.2
    assert params.repetition_detection is not None
