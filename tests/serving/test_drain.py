"""From the first signal to the end: when calls are waited for, and when they are cancelled."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from captioning.running import Reason, RunningCall
from serving.admission import Admission, Draining
from serving.calls import Calls
from serving.drain import Drain
from serving.settings import ServingSettings
from tests.waiting import wait_until


class Place:
    def __init__(self, grace: float) -> None:
        self.calls = Calls()
        load = SimpleNamespace(waiting=0, bytes_held=0, answered=0)
        self.admission = Admission(ServingSettings(), load, SimpleNamespace(held=0), self.calls)
        self.over = threading.Event()
        self.drain = Drain(self.calls, self.admission, grace, self.over.set)
        self.drain.start()

    @contextmanager
    def call(self) -> Iterator[RunningCall]:
        """A call in flight that ends when it is cancelled or the block is left."""
        call, left, inside = RunningCall(), threading.Event(), threading.Event()

        def run() -> None:
            with self.admission.admitted(call, 0), call.on_cancel(left.set):
                inside.set()
                left.wait()

        thread = threading.Thread(target=run)
        thread.start()
        inside.wait()
        yield call
        left.set()
        thread.join()


def refuses(place: Place) -> None:
    with pytest.raises(Draining), place.admission.admitted(RunningCall(), 0):
        pass


def test_an_idle_server_ends_at_once() -> None:
    place = Place(grace=1000)
    place.drain.signal()
    assert place.over.wait(60)
    refuses(place)


def test_calls_in_flight_are_waited_for() -> None:
    place = Place(grace=1000)
    with place.call() as call:
        place.drain.signal()
        place.drain.signal()  # at the same moment: to the group, say
        wait_until(lambda: place.admission.draining)
        refuses(place)
        assert not place.over.is_set()
    assert place.over.wait(60)
    assert call.reason is None


def test_the_end_of_the_grace_time_cancels() -> None:
    place = Place(grace=0.01)
    with place.call() as call:
        place.drain.signal()
        assert place.over.wait(60)
        assert call.reason is Reason.DRAINING


def test_whoever_does_not_want_to_wait() -> None:
    place = Place(grace=1000)
    with place.call() as call:
        place.drain.signal()
        place.drain.signal(at_once=True)
        assert place.over.wait(60)
        assert call.reason is Reason.DRAINING
