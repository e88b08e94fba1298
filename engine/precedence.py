"""Whether there are calls whose way the background is to stay out of, from their arrival to their answer."""

import contextlib
import threading
from collections.abc import Callable, Iterator

Listener = Callable[[bool], None]


class Precedence:
    """
    Whether others than background calls are there. Thread-safe.

    The engine sees a call first when its first prompt comes. By then its input was parsed and its frames were read on
    cores that the background was using, and what the background has handed in meanwhile is in front of it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._short_of_room = 0
        self._listeners: list[Listener] = []

    @property
    def others(self) -> bool:
        """Whether the background is to hold back."""
        return self._calls > 0 and not self._short_of_room

    def going_first(self) -> contextlib.AbstractContextManager[None]:
        """Be such a call until the block is left."""
        return self._one_more(calls=1)

    def short_of_room(self) -> contextlib.AbstractContextManager[None]:
        """
        Have the background go on until the block is left, in which such a call waits for bytes: the background may be
        what holds them, and gives them back only as its prompts are done.
        """
        return self._one_more(short_of_room=1)

    def stepping_aside(self) -> contextlib.AbstractContextManager[None]:
        """Of such a call: be none until the block is left, in which it waits for what the background does not use."""
        return self._one_more(calls=-1)

    @contextlib.contextmanager
    def telling(self, listener: Listener) -> Iterator[None]:
        """
        Tell ``listener`` until the block is left: now, and whenever it changes.

        :param listener: is told :attr:`others`, on any thread; must not block
        """
        with self._lock:
            self._listeners.append(listener)
            listener(self.others)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    @contextlib.contextmanager
    def _one_more(self, *, calls: int = 0, short_of_room: int = 0) -> Iterator[None]:
        self._change(calls, short_of_room)
        try:
            yield
        finally:
            self._change(-calls, -short_of_room)

    def _change(self, calls: int, short_of_room: int) -> None:
        with self._lock:  # also while listeners are told, so that they hear of changes in their order
            before = self.others
            self._calls += calls
            self._short_of_room += short_of_room
            if self.others != before:
                for listener in self._listeners:
                    listener(self.others)
