"""What throughput compares: contenders that did the same, with as much in flight as they say."""

import pytest

from bench.contenders import Spent
from bench.contenders.http import windows
from bench.scenarios.throughput import check_that_all_did_the_same, mean_caption, said_of_http
from bench.workloads import LENGTHS


def spent(read: int = 90, written: int = 40) -> Spent:
    return Spent(seconds=1, captions=2, images=3, prompt_tokens=read, completion_tokens=written)


@pytest.mark.parametrize("label", ["engine.8", "http.8", "transformers.1"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_contender_that_read_less_in_any_round_is_noticed(label: str, number: int) -> None:
    rounds = {"offline": [spent(), spent()], label: [spent(), spent()]}
    check_that_all_did_the_same(rounds, exact=True)
    rounds[label][number] = spent(read=80)
    with pytest.raises(RuntimeError, match=rf"'{label}, round {number + 1}': \(2, 3, 80\)"):
        check_that_all_did_the_same(rounds, exact=False)


def test_a_contender_that_wrote_less_is_noticed_where_captions_have_a_given_length() -> None:
    rounds = {"engine.8": [spent(), spent()], "transformers.1": [spent(), spent(written=39)]}
    check_that_all_did_the_same(rounds, exact=False)
    with pytest.raises(RuntimeError, match=r"'transformers.1, round 2': \(39,\)"):
        check_that_all_did_the_same(rounds, exact=True)


def test_of_http_it_is_said_that_captions_were_shorter() -> None:
    rounds = {"engine.8": [spent(), spent()], "http.8": [spent(), spent(written=30)]}
    check_that_all_did_the_same(rounds, exact=True)
    assert "http.8 17.5, the others 20.0" in said_of_http(rounds)
    assert said_of_http({**rounds, "http.8": [spent(), spent()]}) == ""
    assert said_of_http({"http.8": [spent()]}) == ""


def test_a_mean_caption_is_of_all_rounds() -> None:
    assert mean_caption([spent(), spent(written=30)]) == {"frames": 1.5, "prompt_tokens": 45, "tokens": 17.5}


@pytest.mark.parametrize("at_once", [10, 16, 64])
def test_calls_share_what_is_in_flight(at_once: int) -> None:
    shares = windows(list(LENGTHS) * 4, at_once)
    assert sum(shares.values()) == at_once
    assert list(shares) == sorted(LENGTHS, reverse=True)
    # Those with more to write have more in flight, and all have something.
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert min(shares.values()) >= 1


def test_where_less_is_in_flight_than_there_are_calls_each_has_one() -> None:
    assert set(windows(list(LENGTHS), 4).values()) == {1}
    assert windows([200] * 8, 16) == {200: 16}
