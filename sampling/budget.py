"""The bytes that decoded frames may hold, counted over every call of the process."""

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

DEFAULT_BYTES = 512 * 1024 * 1024


class ByteBudget:
    """
    A limit on bytes, shared by all who ask. Whoever waits longest is served first, so nobody starves.

    What is larger than the whole limit passes when nothing else is held.

    :param limit: bytes
    :raises ValueError: if the limit is not positive
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        if limit <= 0:
            raise ValueError(f"A byte budget of {limit} lets no frame pass; give it at least one byte.")
        self.limit = limit
        self.held = 0
        self.peak = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for bytes."""
        return len(self._waiting)

    def acquire(self, size: int, cancelled: Callable[[], bool]) -> bool:
        """
        Take bytes, waiting for them as long as it takes.

        :param size: bytes
        :param cancelled: asked after every `wake`; true ends the wait
        :returns: whether the bytes were taken; false only if cancelled
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: cancelled() or (self._waiting[0] is ticket and self._fits(size)))
                if cancelled():
                    return False
                self._take(size)
                return True
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def try_acquire(self, size: int) -> bool:
        """Take bytes if they are to be had at once and nobody is waiting for them."""
        with self._changed:
            if self._waiting or not self._fits(size):
                return False
            self._take(size)
            return True

    def release(self, size: int) -> None:
        """Give bytes back."""
        with self._changed:
            self.held -= size
            self._changed.notify_all()

    def wake(self) -> None:
        """Have everyone who waits ask whether they are cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return self.held + size <= self.limit or self.held == 0

    def _take(self, size: int) -> None:
        self.held += size
        self.peak = max(self.peak, self.held)


class Hold:
    """
    Bytes taken from a budget, given back once: when told, at the end of a ``with`` block, or when nobody knows the
    hold any more.
    """

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget = budget
        self._size = size
        self._lock = threading.Lock()

    def shrink(self, size: int) -> None:
        """Give back all but `size` bytes."""
        with self._lock:
            surplus, self._size = max(0, self._size - size), min(self._size, size)
        if surplus:
            self._budget.release(surplus)

    def release(self) -> None:
        """Give back all bytes; a second time does nothing."""
        self.shrink(0)

    def __enter__(self) -> "Hold":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()
