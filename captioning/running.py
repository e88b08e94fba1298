"""One call while it runs: how far it is, and whether it is to go on."""

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from captioning.warning import CaptionWarning, Cause
from engine.precedence import Precedence

Priority = Literal["normal", "background"]


class Reason(StrEnum):
    """Why a call is not to go on."""

    CLIENT_GONE = "client_gone"
    DELETED = "deleted"
    DRAINING = "draining"
    DEADLINE = "deadline"
    ENGINE_GONE = "engine_gone"


class CallCancelled(BaseException):
    """
    The call is not to go on, and what it has done so far is not wanted.

    Like asyncio's ``CancelledError`` it is no ``Exception``, since whatever lies between the call and its caller would
    take it for a failure of the captioning.

    :param reason: why; never ``DEADLINE``, at which what is done is wanted
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"The call was cancelled ({reason}).")
        self.reason = reason


class OutOfTime(Exception):
    """The call's deadline has passed before something was done; what is done is wanted. Seen as a warning."""


class Stages(NamedTuple):
    """How many of a call's prompts that are not done are where."""

    queued: int  # nothing of them is read yet
    reading: int  # frames are being read, or are read ahead of the engine
    waiting: int  # for their turn in the engine, or being prepared there
    generating: int


class Reader(Protocol):
    """Who reads a call's frames."""

    @property
    def reading(self) -> int:
        """How many prompts have frames that are being read, or are read and not taken."""


class Engine(Protocol):
    """Who answers a call's prompts."""

    @property
    def in_flight(self) -> int:
        """How many prompts are with it."""

    @property
    def generating(self) -> int:
        """How many prompts are in the model."""


class RunningCall:
    """
    A call from its arrival to its answer. Thread-safe.

    :param seconds: after so many what is done is returned, and the rest is cancelled; ``None`` for no limit
    :param background: its prompts wait for those of all other calls
    :param precedence: of the engine that it is for, if others may be there
    """

    def __init__(
        self, *, seconds: float | None = None, background: bool = False, precedence: Precedence | None = None
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.background = background
        self.precedence = precedence or Precedence()
        self.seconds = seconds
        self.began = time.time()  # since the epoch, in s
        self.parameters: Mapping[str, object] = {}  # those that say how much work it is; no text of prompts
        self.total = 0  # prompts
        self.submitted = 0
        self.done = 0  # with a caption or without
        self.captions = 0
        self.frames = 0  # that were read for prompts which are submitted
        self.warnings: Counter[Cause] = Counter()
        self.told: Sequence[CaptionWarning] = ()  # those warnings, known at its end
        self.reader: Reader | None = None
        self.engine: Engine | None = None
        self._began = time.monotonic()
        self._reason: Reason | None = None
        self._lock = threading.Lock()
        self._hooks: list[Callable[[], None]] = []

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def priority(self) -> Priority:
        """Its name, as callers give it."""
        return "background" if self.background else "normal"

    @property
    def reason(self) -> Reason | None:
        """Why it is cancelled; ``None`` while it is not."""
        return self._reason

    @property
    def stages(self) -> Stages:
        """Where its prompts are. Counted without holding anyone up, so at most nearly the same moment for all."""
        in_engine = self.engine.in_flight if self.engine else 0
        generating = min(self.engine.generating if self.engine else 0, in_engine)
        outside = max(0, self.total - self.submitted)
        reading = min(self.reader.reading if self.reader else 0, outside)
        return Stages(outside - reading, reading, in_engine - generating, generating)

    def cancel(self, reason: Reason) -> bool:
        """
        End the call, whatever stage its prompts are in. Does not wait for it to end.

        :returns: whether it was not cancelled before; a later reason changes nothing
        """
        with self._lock:
            if self._reason is not None:
                return False
            self._reason = reason
            hooks = list(self._hooks)
        for hook in hooks:
            hook()
        return True

    def check(self) -> None:
        """
        Go on, or not.

        :raises CallCancelled: if it is cancelled and nobody wants what is done
        """
        if self._reason not in (None, Reason.DEADLINE):
            raise CallCancelled(self._reason)

    def go_on(self) -> None:
        """
        Begin something that takes its time, or not.

        :raises CallCancelled: as :meth:`check`
        :raises OutOfTime: if its deadline has passed
        """
        self.check()
        if self._reason is Reason.DEADLINE:
            raise OutOfTime(self.out_of_time)

    @property
    def out_of_time(self) -> str:
        """What is said of a TimeFrame that its deadline came before."""
        return f"the call's time of {self.seconds} s was over before its turn was done."

    @contextlib.contextmanager
    def on_cancel(self, hook: Callable[[], None]) -> Iterator[None]:
        """Call ``hook``, which must not block, when the call is cancelled; at once if it is."""
        with self._lock:
            self._hooks.append(hook)
            cancelled = self._reason is not None
        if cancelled:
            hook()
        try:
            yield
        finally:
            with self._lock:
                self._hooks.remove(hook)

    @contextlib.contextmanager
    def watching_the_clock(self) -> Iterator[None]:
        """Cancel the call at its deadline, if it has one."""
        if self.seconds is None:
            yield
            return
        left = min(max(0.0, self.seconds - self.age), threading.TIMEOUT_MAX)
        timer = threading.Timer(left, self.cancel, [Reason.DEADLINE])
        timer.name = f"deadline-{self.id}"
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make it the one that :func:`current` finds in this context."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[RunningCall | None] = ContextVar("running_call", default=None)


def current() -> RunningCall | None:
    """Return the call that this context belongs to, handed past the SDK, which stands between."""
    return _current.get()
