"""The prompts of one call on their way through the engine."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

from engine.request import Completion, Request
from engine.window import Lane


class Prompt:
    """A request on its way; but for its future, changed on the engine's loop alone."""

    def __init__(self, request: Request, lane: "Lane[Prompt]") -> None:
        self.request = request
        self.lane = lane
        self.future: Future[Completion] = Future()
        self.task: asyncio.Task[None] | None = None
        self.priority = 0  # in vLLM's scheduler; lower goes first
        self.in_vllm = False
        self.since = 0.0  # by time.monotonic(): when its present stage began
        self.further: asyncio.Future[None] | None = None  # done when its next turn may be prepared
        self.deaths = 0  # that it was in vLLM at


class EngineCall:
    """
    The prompts of one call, which take turns with those of others. Thread-safe.

    Made by :meth:`engine.engine.Engine.open_call`.
    """

    def __init__(self, submit: Callable[[Request, Lane[Prompt]], "Future[Completion]"], background: bool) -> None:
        self._submit = submit
        self._lane: Lane[Prompt] = Lane(background)
        self._lock = threading.Lock()
        self._futures: set[Future[Completion]] = set()
        self._cancelled = False

    def submit(self, request: Request) -> "Future[Completion]":
        """Put a request in flight; see :meth:`engine.engine.Engine.submit`. Cancelled at once if the call is."""
        with self._lock:
            if self._cancelled:
                future: Future[Completion] = Future()
                future.cancel()
                return future
            future = self._submit(request, self._lane)
            self._futures.add(future)
        future.add_done_callback(self._forget)
        return future

    def cancel(self) -> None:
        """Take all prompts of the call out of the engine, wherever they are, and let none in any more. Idempotent."""
        with self._lock:
            self._cancelled = True
            futures = list(self._futures)
        for future in futures:
            future.cancel()

    def _forget(self, future: "Future[Completion]") -> None:
        with self._lock:
            self._futures.discard(future)
