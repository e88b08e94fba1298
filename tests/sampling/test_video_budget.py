"""The byte budget by itself: who gets bytes, and when."""

import threading
from collections.abc import Callable

import pytest

from sampling.budget import ByteBudget, Hold
from tests.waiting import wait_until


def never() -> bool:
    return False


def taker(budget: ByteBudget, size: int, cancelled: Callable[[], bool] = never) -> tuple[threading.Thread, list[bool]]:
    """A thread that takes bytes, and where it notes whether it got them."""
    before, got = budget.waiting, list[bool]()
    thread = threading.Thread(target=lambda: got.append(budget.acquire(size, cancelled)), daemon=True)
    thread.start()
    wait_until(lambda: budget.waiting > before or bool(got))
    return thread, got


def test_bytes_are_counted_and_given_back() -> None:
    budget = ByteBudget(10)
    assert budget.try_acquire(4)
    assert budget.acquire(6, never)
    assert not budget.try_acquire(1)
    assert (budget.held, budget.peak) == (10, 10)
    budget.release(10)
    assert (budget.held, budget.peak) == (0, 10)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        ByteBudget(0)


def test_whoever_asks_for_too_much_waits_until_there_is_room() -> None:
    budget = ByteBudget(10)
    assert budget.acquire(7, never)
    thread, got = taker(budget, 4)
    assert got == []
    budget.release(7)
    thread.join(30)
    assert got == [True]
    assert (budget.held, budget.peak) == (4, 7)


def test_more_than_the_limit_passes_alone() -> None:
    budget = ByteBudget(10)
    assert budget.acquire(1, never)
    thread, got = taker(budget, 25)
    assert got == []
    budget.release(1)
    thread.join(30)
    assert got == [True]
    assert not budget.try_acquire(1)


def test_small_requests_do_not_overtake_a_large_one_that_waits() -> None:
    budget = ByteBudget(10)
    assert budget.acquire(5, never)
    large, got_large = taker(budget, 8)
    small, got_small = taker(budget, 1)
    assert not budget.try_acquire(1)
    assert (got_large, got_small) == ([], [])
    budget.release(5)
    large.join(30)
    small.join(30)
    assert (got_large, got_small) == ([True], [True])


def test_a_cancelled_wait_takes_nothing_and_lets_others_pass() -> None:
    budget, cancelled = ByteBudget(10), threading.Event()
    assert budget.acquire(5, never)
    large, got_large = taker(budget, 8, cancelled.is_set)
    small, got_small = taker(budget, 5)
    cancelled.set()
    budget.wake()
    large.join(30)
    small.join(30)
    assert (got_large, got_small) == ([False], [True])
    assert budget.held == 10


def test_a_hold_gives_back_once() -> None:
    budget = ByteBudget(10)
    for size in (6, 4):
        assert budget.try_acquire(size)
    with Hold(budget, 6) as hold:
        hold.shrink(2)
        assert budget.held == 6
        hold.shrink(5)
        assert budget.held == 6
        hold.release()
        hold.release()
        assert budget.held == 4
    assert budget.held == 4


def test_a_forgotten_hold_gives_back() -> None:
    budget = ByteBudget(10)
    assert budget.try_acquire(6)
    hold = Hold(budget, 6)
    del hold
    assert budget.held == 0
