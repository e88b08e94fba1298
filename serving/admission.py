"""Which calls are let in: what the server has to hold at once is bounded."""

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from captioning.running import RunningCall
from serving.answers import RETRY_AFTER_SECONDS
from serving.calls import Calls
from serving.rate import Rate
from serving.settings import ServingSettings

MIB = 1024**2
_LONGEST_WAIT_SECONDS = 600


class Load(Protocol):
    """What the engine has to do; see :class:`engine.engine.Engine`."""

    @property
    def waiting(self) -> int:
        """Prompts that wait for the engine."""

    @property
    def bytes_held(self) -> int:
        """Bytes of prepared prompts."""

    @property
    def answered(self) -> int:
        """Prompts answered so far."""


class Frames(Protocol):
    """What decoded frames hold; see :class:`sampling.budget.ByteBudget`."""

    held: int


class Bound(NamedTuple):
    """A limit on what the server holds, and how much that is."""

    name: str
    value: int
    limit: int
    what: str

    @property
    def passed(self) -> bool:
        """Whether there is more than may be."""
        return self.value > self.limit


class Full(Exception):
    """
    A call is not let in now.

    :param bound: the bound that it would pass
    :param retry_after: seconds after which there is likely to be room
    """

    def __init__(self, bound: Bound, retry_after: int) -> None:
        super().__init__(
            f"The server is full: {bound.value} {bound.what} with this call, and {bound.limit} are the limit. "
            "Nothing was done; send the call again later."
        )
        self.bound = bound
        self.retry_after = retry_after


class Draining(Exception):
    """No call is let in any more."""


class Admission:
    """
    Lets calls in as long as there is room. Thread-safe.

    :param engine: whose load counts
    :param frames: what decoded frames hold
    :param calls: those in flight
    """

    def __init__(self, settings: ServingSettings, engine: Load, frames: Frames, calls: Calls) -> None:
        self.draining = False
        self._settings = settings
        self._engine = engine
        self._frames = frames
        self._calls = calls
        self._rate = Rate(lambda: engine.answered)
        self._lock = threading.Lock()
        self._bodies = 0  # bytes, of the calls in flight

    @property
    def bytes_held(self) -> int:
        """Bytes of decoded frames, prepared prompts and request bodies."""
        return self._frames.held + self._engine.bytes_held + self._bodies

    def bounds(self) -> tuple[Bound, ...]:
        """How much there is of what is bounded."""
        return self._bounds(0, 0)

    def close(self) -> None:
        """Let no call in any more."""
        with self._lock:
            self.draining = True

    def look(self) -> None:
        """Note how many prompts have been answered by now, for Retry-After; to be called every few seconds."""
        if len(self._calls) == 0:
            self._rate.forget()  # while there is nothing to do the engine isn't slow
        self._rate.look()

    @contextlib.contextmanager
    def admitted(self, call: RunningCall, body: int) -> Iterator[None]:
        """
        Let ``call`` in, and count it among those in flight.

        :param body: bytes of the request's body, as far as they are known
        :raises Draining: if no call is let in any more
        :raises Full: if a bound would be passed
        """
        with self._lock:
            if self.draining:
                raise Draining
            self.look()
            for bound in self._bounds(1, body):
                if bound.passed:
                    raise Full(bound, self._wait(bound))
            self._calls.add(call)
            self._bodies += body
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)
                self._bodies -= body
            self.look()

    def _bounds(self, calls: int, body: int) -> tuple[Bound, ...]:
        limits = self._settings
        # A call brings at least one prompt. Its frames come later, and wait for their own budget.
        return (
            Bound("calls", len(self._calls) + calls, limits.max_calls, "calls in flight"),
            Bound("prompts", self._engine.waiting + calls, limits.max_prompts_waiting, "prompts waiting"),
            Bound("bytes", self.bytes_held + body, limits.max_held_mib * MIB, "bytes held"),
        )

    def _wait(self, bound: Bound) -> int:
        """Seconds until there is room: as long as the engine takes, at its measured rate, for what has to go first."""
        rate = self._rate.per_second()
        if rate <= 0:
            return RETRY_AFTER_SECONDS
        if bound.name == "prompts":
            prompts = bound.value - bound.limit
        else:  # a call has to end, while all take turns
            calls = self._calls.snapshot()
            prompts = min((call.total - call.done for call in calls if call.total), default=1) * len(calls)
        return min(max(1, math.ceil(prompts / rate)), _LONGEST_WAIT_SECONDS)
