"""The window's size is kept in both directions, whatever finishes when."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from captioning.window import sliding_window


class Bench:
    """Futures that the test finishes by hand, and what was in flight whenever something changed."""

    def __init__(self) -> None:
        self.futures: dict[int, Future[str]] = {}
        self.in_flight: list[int] = []
        self.changed = threading.Condition()

    def submit(self, item: int) -> "Future[str]":
        future: Future[str] = Future()
        with self.changed:
            self.futures[item] = future
            self.in_flight.append(sum(not f.done() for f in self.futures.values()))
            self.changed.notify_all()
        return future

    def await_submitted(self, item: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: item in self.futures, timeout=30), f"{item} was not submitted"

    def finish(self, item: int) -> None:
        self.await_submitted(item)
        self.futures[item].set_result(f"caption {item}")


def collect(bench: Bench, items: Iterator[int], size: int) -> tuple[threading.Thread, list[tuple[int, str]]]:
    results: list[tuple[int, str]] = []

    def consume() -> None:
        results.extend((item, future.result()) for item, future in sliding_window(items, bench.submit, size))

    thread = threading.Thread(target=consume)
    thread.start()
    return thread, results


@pytest.mark.parametrize("size", [1, 4, 16])
def test_never_more_and_never_fewer_while_work_remains(size: int) -> None:
    bench = Bench()
    thread, results = collect(bench, iter(range(40)), size)
    for item in range(40):
        bench.finish(item)
        bench.await_submitted(min(item + size, 39))
    thread.join()
    assert bench.in_flight == [*range(1, size), *[size] * (41 - size)]
    assert sorted(results) == [(item, f"caption {item}") for item in range(40)]


def test_a_slow_item_holds_nothing_up() -> None:
    bench = Bench()
    thread, results = collect(bench, iter(range(10)), 2)
    for item in range(1, 10):
        bench.finish(item)  # waits until it is in flight, beside 0
    bench.finish(0)
    thread.join()
    assert {item for item, _ in results} == set(range(10))


def test_takes_an_item_only_when_there_is_room() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(3):
            taken.append(item)
            yield item

    bench = Bench()
    thread, _ = collect(bench, items(), 1)
    bench.finish(0)
    bench.await_submitted(1)
    assert taken == [0, 1]
    bench.finish(1)
    bench.finish(2)
    thread.join()


def test_closing_cancels_what_is_in_flight() -> None:
    bench = Bench()
    window = sliding_window(iter(range(5)), bench.submit, 3)
    threading.Timer(0.05, bench.finish, [0]).start()
    assert next(window)[0] == 0
    window.close()
    assert not bench.futures[0].cancelled()
    assert all(bench.futures[item].cancelled() for item in (1, 2, 3))
    assert 4 not in bench.futures


def test_a_failing_source_cancels_what_is_in_flight() -> None:
    bench = Bench()

    def items() -> Iterator[int]:
        yield 0
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(sliding_window(items(), bench.submit, 2))
    assert bench.futures[0].cancelled()
