"""A seed gives each prompt a stream of its own, the same in every process."""

import pytest

from sampling.decoding import Decoding


def test_no_seed_by_default_nor_where_nothing_is_drawn() -> None:
    assert Decoding(temperature=1).sampling_params("tf_1").seed is None
    assert Decoding(temperature=0, seed=7).sampling_params("tf_1").seed is None


def test_the_stream_is_the_prompts_and_never_changes() -> None:
    def stream(seed: int, *prompt: object) -> int | None:
        return Decoding(temperature=1, seed=seed).sampling_params(*prompt).seed

    # Written down: published captions have to repeat in the next version, too.
    assert stream(7, "v_1:tf_1", 0) == 5241787683457835620
    assert len({stream(7, "tf_1", 0), stream(7, "tf_1", 1), stream(7, "tf_2", 0), stream(8, "tf_1", 0)}) == 4


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_seeds_that_vllm_takes(seed: int) -> None:
    params = Decoding(temperature=1, seed=seed).sampling_params()
    assert params.seed is not None
    assert 0 <= params.seed < 2**63


@pytest.mark.parametrize("seed", [-2, 2**63])
def test_other_seeds_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f'"seed" must be an integer from 0 to 2.*; got {seed}'):
        Decoding(seed=seed)


def test_the_highest_temperature_is_vllms() -> None:
    assert Decoding(temperature=2).sampling_params().temperature == 2
    with pytest.raises(ValueError, match=r'"temperature" must be 0 \(greedy\) or a number up to 2; got 2.1'):
        Decoding(temperature=2.1)
