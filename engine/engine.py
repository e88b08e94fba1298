"""The engine as callers on any thread see it: started once, and started again when it dies."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import psutil

from engine.answering import Answering
from engine.calls import Ending, EngineCall, Prompt
from engine.context import Context
from engine.errors import EngineDied, EngineStartError, EngineUnavailable
from engine.generation import Generation
from engine.model import Model, fetch
from engine.precedence import Precedence
from engine.prompts import Prompts
from engine.request import Completion, Request
from engine.settings import MIB, EngineSettings, prepare_environment

logger = logging.getLogger(__name__)

State = Literal["new", "starting", "ready", "restarting", "dead", "closed"]

_WATCH_SECONDS = 0.25
_BACKOFF_SECONDS = 1.0  # before the first restart in a row, doubled for each further one
_LONGEST_BACKOFF_SECONDS = 30.0
_WARM_UP_SECONDS = 900.0


class Engine:
    """
    Runs one model for all callers of a process. Thread-safe; has to be started before, and closed after use.

    Should vLLM's process die or hang, a new one is started, and the prompts that were in it go in again, unless it dies
    of one of them; see :meth:`engine.prompts.Prompts.put_back`.

    :param settings: see there
    :param model: which model to run
    :param generation: makes what runs the model from the settings and the model's folder
    """

    def __init__(
        self,
        settings: EngineSettings,
        model: Model,
        generation: Callable[[EngineSettings, Path], Generation] = Generation,
    ) -> None:
        self.settings = settings
        self.model = model
        self._state: State = "new"
        self.deaths = 0  # of vLLM, hanging and failing to start again included
        self.restarts = 0  # after which it was back
        self.context_length = 0  # tokens, known once ready
        self.context: Context  # known once ready
        self.precedence = Precedence()  # told by those who let calls in
        # Told once, on the engine's thread, when it is not started again.
        self.on_death: Callable[[], None] = _nobody_minds
        # Told of every prompt that leaves the engine, on the engine's thread.
        self.on_prompt: Callable[[Ending], None] = _nobody_counts
        self._prompts = Prompts(settings, self._refusal, lambda ending: self.on_prompt(ending))
        self._answered_before = 0  # the last death
        self._unanswered_deaths = 0  # since the last answer
        self._resources = contextlib.ExitStack()
        self._make_generation = generation
        self._generation: Generation | None = None
        self._start_lock = threading.Lock()
        self._folder: Path
        self._processor: Any
        self._answering: Answering
        self._watch_task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread

    def start(self) -> None:
        """
        Build the engine and answer a first prompt, so that the next one finds everything warm. Takes 20 s and more;
        returns at once when the engine has been started already.

        :raises EngineStartError: if the model is not to be had, does not fit, or doesn't answer
        :raises EngineUnavailable: if the engine is dead or closed, or is closed meanwhile
        """
        with self._start_lock:
            if self._state in ("ready", "restarting"):
                return
            if self._state != "new":
                raise EngineUnavailable(f"The engine is {self._state}.")
            self._state = "starting"
            began = time.monotonic()
            self._loop = asyncio.new_event_loop()  # not before: the server forks between __init__ and start
            self._thread = threading.Thread(target=self._loop.run_forever, name="engine-loop", daemon=True)
            self._thread.start()
            try:
                self._load()
                asyncio.run_coroutine_threadsafe(self._next_generation(), self._loop).result()
            except Exception as error:
                if self.state == "closed":  # by whoever ends the process, and that is why it failed
                    raise EngineUnavailable("The engine was closed while it was being started.") from error
                self.close()
                raise EngineStartError.of(error) from error
            self._state = "ready"
            self._loop.call_soon_threadsafe(self._watch)
            self._resources.enter_context(self.precedence.telling(self._make_way))
            logger.info("Engine ready with %s after %.1f s", self.model.record, time.monotonic() - began)

    def open_call(self, *, background: bool = False) -> EngineCall:
        """
        Begin a call; its prompts take turns with those of others.

        :param background: its prompts wait for those of all other calls, but for a small share
        """
        return EngineCall(self._submit, background)

    def check_frames(self, request: Request, frames: int) -> None:
        """
        See whether a request could have so many frames, before they are read. The engine has to be started.

        :param request: the same with two frames, of any size
        :raises PromptRefused: if it could not, with the number that it could have
        """
        self._answering.check_frames(request, frames)

    def submit(self, request: Request) -> "Future[Completion]":
        """
        Put a request in flight, as a call of its own. The future can be cancelled; it raises

        * :class:`PromptRefused` if the engine can't answer this request, and
        * :class:`EngineDied` if it went away for good, or :class:`EngineUnavailable` if it is not there.
        """
        return self.open_call().submit(request)

    @property
    def state(self) -> State:
        """What the engine is doing; asks vLLM, so that a death is noticed at once."""
        if self._state == "ready" and self._generation is not None and self._generation.died:
            return "restarting"
        return self._state

    @property
    def is_ready(self) -> bool:
        """Whether prompts are being answered now."""
        return self.state == "ready"

    @property
    def answered(self) -> int:
        """How many prompts were answered since it was started."""
        return self._prompts.answered

    @property
    def in_flight(self) -> int:
        """How many prompts are submitted and not done."""
        return self._prompts.in_flight

    @property
    def waiting(self) -> int:
        """How many of these have not been handed to vLLM."""
        return self._prompts.window.waiting

    @property
    def bytes_held(self) -> int:
        """Bytes of the prompts that are prepared, or being prepared, and not done."""
        return self._prompts.window.held

    @property
    def bytes_limit(self) -> int:
        """How many of them there may be, but for a prompt that is alone."""
        return self.settings.tensor_budget_mib * MIB

    @property
    def preparing(self) -> int:
        """How many are being prepared for it."""
        return self._prompts.window.preparing

    @property
    def generating(self) -> int:
        """How many are in vLLM."""
        return max(0, self.in_flight - self.waiting - self.preparing)

    @property
    def kv_cache_usage(self) -> float:
        """The share of vLLM's KV cache that is in use, 0 to 1."""
        return self._generation.kv_cache_usage if self._generation else 0.0

    @property
    def unfinished_in_vllm(self) -> int:
        """How many prompts vLLM itself still counts, for tests that nothing leaks."""
        return self._generation.unfinished if self._generation else 0

    @property
    def pids(self) -> set[int]:
        """The ids of this process and of the engine's, its children."""
        own = psutil.Process()
        return {own.pid, *(child.pid for child in own.children(recursive=True))}

    def close(self) -> None:
        """End the engine and its processes; what is in flight fails with :class:`EngineUnavailable`. Idempotent."""
        before, self._state = self._state, "closed"
        if before in ("new", "closed"):
            return
        self._resources.close()
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        if self._generation is not None:
            self._generation.close(kill=before != "ready")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _load(self) -> None:
        prepare_environment(self.settings, offline=self.model.folder is not None)
        self._folder = fetch(self.model)
        from transformers import AutoProcessor

        self._processor = AutoProcessor.from_pretrained(self._folder)

    async def _next_generation(self) -> None:
        generation = self._generation = self._make_generation(self.settings, self._folder)
        await asyncio.to_thread(generation.build)
        self.context_length = generation.context_length
        self.context = Context(self._processor, self.context_length)
        answering = self._answering = Answering(self._processor, self.context)
        await asyncio.wait_for(answering.warm_up(generation), _WARM_UP_SECONDS)
        self._prompts.set_going(generation, answering)

    def _submit(self, prompt: Prompt) -> None:
        if refusal := self._refusal():
            prompt.refuse_all(refusal)
            return
        for each in prompt.with_followers:
            each.future.add_done_callback(self._withdraw)
        try:
            self._loop.call_soon_threadsafe(self._prompts.add, prompt)
        except RuntimeError:  # closed between the lines
            prompt.refuse_all(self._unavailable())

    def _refusal(self) -> EngineUnavailable | None:
        return None if self._state in ("ready", "restarting") else self._unavailable()

    def _unavailable(self) -> EngineUnavailable:
        return EngineUnavailable(f"The engine takes no prompts: it is {self._state}.")

    def _withdraw(self, future: "Future[Completion]") -> None:
        if future.cancelled():
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                self._loop.call_soon_threadsafe(self._prompts.drop, future)

    def _make_way(self, others: bool) -> None:
        self._loop.call_soon_threadsafe(self._prompts.note_others, others)

    # From here on, everything runs on the engine's loop.

    def _watch(self) -> None:
        self._watch_task = self._loop.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        try:
            await self._watch_over()
        except Exception as error:
            logger.exception("The engine can't be watched any more.")
            with contextlib.suppress(Exception):  # vLLM may be in any state
                await self._prompts.stop_going()
            self._give_up(f"The engine can't be watched any more ({type(error).__name__}: {error}).")

    async def _watch_over(self) -> None:
        while self._state == "ready":
            await asyncio.sleep(_WATCH_SECONDS)
            assert self._generation is not None
            self._prompts.see_to_background()
            since = min((prompt.since for prompt in self._prompts.window.admitted), default=None)
            limit = self.settings.stall_seconds
            if self._generation.died:
                await self._restart("The engine process ended unexpectedly; its log above may say why.")
            elif limit and since is not None and self._generation.silence(since) > limit:
                await self._restart(f"The engine made no step for {limit:g} s while it had work; it is replaced.")

    async def _restart(self, reason: str) -> None:
        assert self._generation is not None
        self._state = "restarting"
        logger.error("%s", reason)
        self._count_death()
        await self._prompts.stop_going()
        self._prompts.put_back()
        await asyncio.to_thread(self._generation.close, kill=True)
        while self._unanswered_deaths <= self.settings.max_restarts:
            await asyncio.sleep(backoff(self._unanswered_deaths))
            try:
                await self._next_generation()
            except Exception:
                logger.exception("The engine did not start again.")
                self._count_death()
                await asyncio.to_thread(self._generation.close, kill=True)
            else:
                self._state = "ready"
                self.restarts += 1
                logger.warning("The engine is back; %d prompt(s) were waiting for it.", self._prompts.in_flight)
                return
        times = self._unanswered_deaths
        self._give_up(f"The engine died and could not be brought back: {times} times without an answer in between.")

    def _count_death(self) -> None:
        self.deaths += 1
        if self.answered > self._answered_before:
            self._unanswered_deaths = 0
        self._answered_before = self.answered
        self._unanswered_deaths += 1

    def _give_up(self, said: str) -> None:
        self._state = "dead"
        logger.critical("%s", said)
        self._prompts.end(lambda: EngineDied(said))
        self.on_death()

    async def _shut_down(self) -> None:
        self._state = "closed"  # a restart that came back meanwhile has overwritten it
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.gather(self._watch_task, return_exceptions=True)
        await self._prompts.stop_going()
        self._prompts.end(lambda: EngineUnavailable("The engine was closed while the prompt was in flight."))


def _nobody_minds() -> None:
    pass


def _nobody_counts(ending: Ending) -> None:
    pass


def backoff(deaths: int) -> float:
    """Seconds to wait before a restart after so many deaths without an answer in between."""
    return min(_BACKOFF_SECONDS * 2.0 ** (deaths - 1), _LONGEST_BACKOFF_SECONDS)
