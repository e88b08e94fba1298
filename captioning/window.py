"""A sliding window of work in flight."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def sliding_window(
    items: Iterable[Item], submit: Callable[[Item], "Future[Result]"], size: int
) -> Iterator[tuple[Item, "Future[Result]"]]:
    """
    Keep ``size`` items in flight as long as there are so many: the moment one is done, the next goes in.

    :param items: what to submit, taken one by one and only when there is room
    :param submit: puts an item in flight
    :param size: how many may be in flight, at least 1
    :returns: each item with its future, done, in the order in which they finish; what is still in flight is cancelled
        when the iterator is closed
    """
    in_flight: dict[Future[Result], Item] = {}
    waiting = iter(items)
    more = True
    try:
        while more or in_flight:
            full = not more or len(in_flight) >= size
            done, _ = wait(in_flight, timeout=None if full else 0, return_when=FIRST_COMPLETED)
            finished = [(in_flight.pop(future), future) for future in done]
            while more and len(in_flight) < size:
                try:
                    item = next(waiting)
                except StopIteration:
                    more = False
                else:
                    in_flight[submit(item)] = item
            yield from finished
    finally:
        for future in in_flight:
            future.cancel()


def all_done(futures: "list[Future[Result]]") -> "Future[list[Future[Result]]]":
    """Return a future of ``futures``, done when they all are, whatever they have come to. It can't be cancelled."""
    whole: Future[list[Future[Result]]] = Future()
    whole.set_running_or_notify_cancel()
    left = len(futures)
    lock = threading.Lock()

    def count(_: "Future[Result]") -> None:
        nonlocal left
        with lock:
            left -= 1
            last = not left
        if last:
            whole.set_result(futures)

    for future in futures:
        future.add_done_callback(count)
    return whole
