"""How fast something is counted up."""

import threading
import time
from collections import deque
from collections.abc import Callable


class Rate:
    """
    The rate at which a counter rises, over the last minutes. Thread-safe.

    :param counter: returns how many there have been so far
    :param seconds: how far back to look
    :param clock: returns the time in seconds
    """

    def __init__(
        self, counter: Callable[[], int], seconds: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counter = counter
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int]] = deque()

    def forget(self) -> None:
        """Begin anew: what has been until now says nothing of the rate to come."""
        with self._lock:
            self._seen.clear()

    def look(self) -> None:
        """Note how many there are now. What is not looked at has no rate; to be called some times within the window."""
        now = self._clock()
        with self._lock:
            if not self._seen or now - self._seen[-1][0] >= 1:
                self._seen.append((now, self._counter()))
            while len(self._seen) > 1 and self._seen[0][0] < now - self._seconds:
                self._seen.popleft()

    def per_second(self) -> float:
        """Return how many there were a second since the earliest look within reach; 0 if that is not known."""
        now, count = self._clock(), self._counter()
        with self._lock:
            if not self._seen or now <= self._seen[0][0]:
                return 0.0
            since, before = self._seen[0]
        return (count - before) / (now - since)
