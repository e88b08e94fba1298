"""The calls in flight."""

import threading
from typing import Any

from captioning.running import Reason, RunningCall


class Calls:
    """The calls that the server is working on, in the order of their arrival. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: dict[str, RunningCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: RunningCall) -> None:
        """Count a call among those in flight."""
        with self._changed:
            self._calls[call.id] = call

    def remove(self, call: RunningCall) -> None:
        """Note that a call has its answer."""
        with self._changed:
            del self._calls[call.id]
            self._changed.notify_all()

    def snapshot(self) -> list[RunningCall]:
        """Return the calls in flight; they go on meanwhile."""
        with self._changed:
            return list(self._calls.values())

    def described(self) -> list[dict[str, Any]]:
        """Describe the calls in flight for JSON; nothing in it says what they ask."""
        return [_described(call) for call in self.snapshot()]

    def cancel(self, id_: str, reason: Reason) -> bool:
        """
        Cancel one call.

        :returns: whether there is such a call
        """
        with self._changed:
            call = self._calls.get(id_)
        if call is not None:
            call.cancel(reason)
        return call is not None

    def cancel_all(self, reason: Reason) -> None:
        """Cancel all calls in flight."""
        for call in self.snapshot():
            call.cancel(reason)

    def wait_until_none(self, seconds: float) -> bool:
        """
        Wait until no call is in flight.

        :returns: whether that came to be within ``seconds``
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls, seconds)


def _described(call: RunningCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "age": round(call.age, 3),
        "done": call.done,
        "total": call.total,
        "captions": call.captions,
        "stages": call.stages._asdict(),
        "priority": call.priority,
        "seconds": call.seconds,
        "cancelled": call.reason,
        "parameters": call.parameters,
    }
