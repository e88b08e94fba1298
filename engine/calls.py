"""The prompts of one call on their way through the engine."""

import asyncio
import contextlib
import contextvars
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Literal, Self

from engine.context import Fit
from engine.errors import PromptRefused
from engine.request import Completion, Request
from engine.window import Lane, Window

# failed: whatever is not the prompt's own fault, above all the engine's end.
PromptOutcome = Literal["answered", "refused", "cancelled", "failed"]


@dataclass(frozen=True)
class Ending:
    """
    What has become of a prompt, for whoever counts them.

    :param seconds: from its submission on
    :param frames: that it showed the model
    :param completion: the answer, if that is what has become of it
    """

    outcome: PromptOutcome
    seconds: float
    frames: int
    completion: Completion | None = None

    @classmethod
    def of(cls, prompt: "Prompt", outcome: Completion | Exception) -> Self:
        """Word what ``prompt`` has come to now."""
        seconds, frames = time.monotonic() - prompt.submitted, len(prompt.request.images)
        if prompt.future.cancelled():
            return cls("cancelled", seconds, frames)
        if isinstance(outcome, Exception):
            return cls("refused" if isinstance(outcome, PromptRefused) else "failed", seconds, frames)
        return cls("answered", seconds, frames, outcome)


class Prompt:
    """
    A request on its way; but for its future, changed on the engine's loop alone.

    Nothing that the future knows may know the prompt: a future keeps its callbacks and its exception, and the frames of
    the request would wait with them for the collector of cycles, for minutes, uncounted by any budget.
    """

    def __init__(self, request: Request, lane: "Lane[Prompt]") -> None:
        self.request = request
        self.lane = lane
        self.future: Future[Completion] = Future()
        self.context = contextvars.copy_context()  # of the call, whichever call's thread it is that sets it going
        self.task: asyncio.Task[None] | None = None
        self.fit: Fit  # known once it waits
        self.priority = 0  # in vLLM's scheduler; lower goes first
        self.copy: int | None = None  # of the model, that answers it, where there are several; known once it goes in
        self.in_vllm = False
        self.submitted = time.monotonic()
        self.since = 0.0  # by time.monotonic(): when its present stage began
        self.further: asyncio.Future[None] | None = None  # done when its next turn may be prepared
        self.deaths = 0  # that it was in vLLM at
        self.follower: Prompt | None = None  # over the same frames; goes in when this one is read, or done
        self.future.add_done_callback(_notify_waiters)

    @property
    def with_followers(self) -> "Iterator[Prompt]":
        """It, and those that are to follow it, in their order."""
        prompt: Prompt | None = self
        while prompt is not None:
            yield prompt
            prompt = prompt.follower

    def settle(self, outcome: Completion | Exception) -> None:
        """Tell whoever waits for it what it has come to."""
        if isinstance(outcome, PromptRefused):  # its words say all; where it was raised, the prompt is in sight
            outcome.__traceback__ = outcome.__cause__ = outcome.__context__ = None
        with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
            if isinstance(outcome, Exception):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)

    def refuse_all(self, error: Exception) -> None:
        """End it and those that are to follow it."""
        for each in self.with_followers:
            each.settle(error)


def _notify_waiters(future: "Future[Completion]") -> None:
    if future.cancelled():
        future.set_running_or_notify_cancel()  # concurrent.futures.wait takes no notice of cancelling alone


class WindowPassage:
    """A prompt's way through the engine's window; see :class:`engine.answering.Passage`."""

    def __init__(
        self,
        prompt: Prompt,
        window: Window[Prompt],
        pump: Callable[[], None],
        follow: Callable[[Prompt], None],
    ) -> None:
        self._prompt = prompt
        self._window = window
        self._pump = pump
        self._follow = follow

    @property
    def priority(self) -> int:
        return self._prompt.priority

    @property
    def copy(self) -> int | None:
        return self._prompt.copy

    @property
    def background(self) -> bool:
        return self._prompt.lane.background

    @property
    def on_read(self) -> Callable[[], None] | None:
        return functools.partial(self._follow, self._prompt) if self._prompt.follower else None

    async def prepare_again(self) -> None:
        self._prompt.in_vllm = False
        further = self._prompt.further = asyncio.get_running_loop().create_future()
        self._window.prepare_again(self._prompt)
        self._pump()
        await further

    def prepared(self) -> None:
        self._prompt.in_vllm = True
        self._prompt.since = time.monotonic()
        self._window.prepared(self._prompt)
        self._pump()


class EngineCall:
    """
    The prompts of one call, which take turns with those of others. Thread-safe.

    Made by :meth:`engine.engine.Engine.open_call`.
    """

    def __init__(self, submit: Callable[[Prompt], None], background: bool) -> None:
        self._submit = submit
        self._lane: Lane[Prompt] = Lane(background)
        self._lock = threading.Lock()
        self._prompts: dict[Future[Completion], Prompt] = {}  # those that are not done
        self._cancelled = False

    @property
    def in_flight(self) -> int:
        """How many of the call's prompts are not done."""
        return len(self._prompts)

    @property
    def generating(self) -> int:
        """How many of the call's prompts are in vLLM."""
        with self._lock:
            return sum(prompt.in_vllm for prompt in self._prompts.values())

    def submit(self, request: Request) -> "Future[Completion]":
        """Put a request in flight; see :meth:`engine.engine.Engine.submit`. Cancelled at once if the call is."""
        (future,) = self.submit_in_turn([request])
        return future

    def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
        """
        Put requests over the same frames in flight. Each goes in, in front of what waits, when the model has read the
        one before: then the KV of their frames is there, and only what follows the frames is computed.
        """
        prompts = [Prompt(request, self._lane) for request in requests]
        for prompt, follower in itertools.pairwise(prompts):
            prompt.follower = follower
        futures = [prompt.future for prompt in prompts]
        with self._lock:
            if self._cancelled:
                for future in futures:
                    future.cancel()
                return futures
            self._prompts.update(zip(futures, prompts))
        for future in futures:
            future.add_done_callback(self._forget)
        self._submit(prompts[0])
        return futures

    def cancel(self) -> None:
        """Take all prompts of the call out of the engine, wherever they are, and let none in any more. Idempotent."""
        with self._lock:
            self._cancelled = True
            futures = list(self._prompts)
        for future in futures:
            future.cancel()

    def _forget(self, future: "Future[Completion]") -> None:
        with self._lock:
            self._prompts.pop(future, None)
