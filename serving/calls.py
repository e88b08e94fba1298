"""The calls in flight."""

import contextlib
import threading
from collections.abc import Iterator

from captioning.running import Reason, RunningCall


class Calls:
    """The calls that the server is working on, in the order of their arrival. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, RunningCall] = {}

    @contextlib.contextmanager
    def running(self, call: RunningCall) -> Iterator[None]:
        """Count ``call`` among those in flight, and make it the one that belongs to this context."""
        with self._lock:
            self._calls[call.id] = call
        try:
            with call.current():
                yield
        finally:
            with self._lock:
                del self._calls[call.id]

    def snapshot(self) -> list[RunningCall]:
        """Return the calls in flight; they go on meanwhile."""
        with self._lock:
            return list(self._calls.values())

    def cancel(self, id_: str, reason: Reason) -> bool:
        """
        Cancel one call.

        :returns: whether there is such a call
        """
        with self._lock:
            call = self._calls.get(id_)
        if call is not None:
            call.cancel(reason)
        return call is not None

    def cancel_all(self, reason: Reason) -> None:
        """Cancel all calls in flight."""
        for call in self.snapshot():
            call.cancel(reason)
