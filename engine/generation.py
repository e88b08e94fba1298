"""One AsyncLLM from its start to its end: an engine that died is followed by another generation of it."""

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.orphans import Family
from engine.settings import EngineSettings, engine_args
from engine.spawning import without_interrupts, without_main_module

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

logger = logging.getLogger(__name__)

_NEVER = 2**31  # in tokens, and more than any answer has
_CLOSE_SECONDS = 30.0  # that vLLM may take to tidy up what is left in this process

Result = TypeVar("Result")


class Generation:
    """
    One AsyncLLM on an event loop and a thread of its own, as its start blocks the loop that it runs on.

    Its coroutines can be awaited on any other loop; cancelling one takes its prompt out of vLLM.

    :param settings: see there
    :param folder: the model's files
    """

    def __init__(self, settings: EngineSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._family = Family()
        self._ids = itertools.count()
        self._heard: dict[int, tuple[float, int]] = {}  # by engine process: when, and its unfinished prompts then
        self._kv_cache_usage: dict[int, float] = {}  # likewise
        self._llm: AsyncLLM | None = None
        self._telling: set[asyncio.Task[None]] = set()  # the loop itself keeps none
        self._close_lock = threading.Lock()
        self._closed = False
        self._gives_up = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-loop", daemon=True)
        self._thread.start()

    def build(self) -> None:
        """
        Start vLLM. Blocks for 20 s and more; :meth:`close`, on another thread, cuts it short.

        :raises Exception: whatever vLLM raises
        """
        arguments = engine_args(self._settings, self._folder)
        with self._close_lock:
            if self._closed:
                raise RuntimeError("The engine was closed while it was being started.")
            building = asyncio.run_coroutine_threadsafe(self._build(arguments), self._loop)
        building.result()

    async def render(self, prompt: dict[str, Any]) -> Any:
        """
        Prepare a prompt: resize its frames, count its tokens.

        :returns: what :meth:`generate` takes; its ``prompt_token_ids`` are counted
        :raises VLLMClientError, ValueError: if it can't be used
        """
        return await self._here(self._render(prompt))

    async def generate(
        self,
        rendered: Any,
        sampling: "SamplingParams",
        priority: int,
        on_read: Callable[[], None] | None = None,
        copy: int | None = None,
    ) -> Any:
        """
        Answer a prepared prompt.

        :param priority: lower goes first
        :param on_read: called on the caller's loop when the model has read the prompt, and its KV can be reused
        :param copy: of the model, from 0, where there are several: that one alone can reuse the KV. vLLM chooses if it
            is ``None``
        :returns: vLLM's RequestOutput, finished; ``None`` if there is none
        :raises EngineDeadError: if the engine's process is gone, or about to end
        :raises EngineGenerateError, VLLMClientError: if vLLM can't answer it
        """
        if on_read is None:
            return await self._here(self._generate(rendered, sampling, priority, copy))
        callers = asyncio.get_running_loop()

        def tell() -> None:
            callers.call_soon_threadsafe(on_read)

        return await self._here(self._generate_twice_told(rendered, sampling, priority, copy, tell))

    def stand_still(self, still: bool) -> None:
        """
        Have vLLM make no step, or go on. Takes effect in the order of calls, those of :meth:`generate` included.

        :param still: whether to; prompts stay where they are, and new ones wait
        """
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._loop.call_soon_threadsafe(self._tell_to_stand_still, still)

    @property
    def died(self) -> bool:
        """Whether the engine's process is gone, or about to end."""
        return self._gives_up or (self._llm is not None and self._llm.errored)

    @property
    def context_length(self) -> int:
        """Tokens that a prompt and its answer may have together."""
        return self._llm.model_config.max_model_len if self._llm else 0

    @property
    def unfinished(self) -> int:
        """How many prompts vLLM still counts."""
        return self._llm.get_num_unfinished_requests() if self._llm else 0

    @property
    def kv_cache_usage(self) -> float:
        """The share of the KV cache that is in use, 0 to 1; of several engine processes the highest."""
        return max(self._kv_cache_usage.values(), default=0.0)

    @property
    def pids(self) -> set[int]:
        """The ids of the engine's processes, not this one."""
        return self._family.pids

    def silence(self, since: float) -> float:
        """
        How long the engine has not been heard of, in seconds; of several processes the worst.

        :param since: when it was given work, by ``time.monotonic()``
        """
        heard = list(self._heard.values())
        latest = max([since, *(at for at, _ in heard)])
        earliest = min([latest, *(max(since, at) for at, unfinished in heard if unfinished)])
        return time.monotonic() - earliest

    def close(self, *, kill: bool = False) -> None:
        """
        End the engine's processes and the thread; prompts in it are cancelled. Idempotent.

        :param kill: at once, and whatever state they are in
        """
        with self._close_lock:
            if not self._closed:
                self._closed = True
                self._close(kill)

    def _close(self, kill: bool) -> None:
        pids = self._family.pids
        ending = asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop)
        until = time.monotonic() + _CLOSE_SECONDS
        while not ending.done() and time.monotonic() < until:
            if kill:
                self._family.kill()  # a start that is under way fails with it, and frees the loop
            wait([ending], timeout=0.2)
        self._family.close()
        self._family.wait_until_gone(pids)  # vLLM kills what does not end in time, and doesn't look back
        multiprocessing.active_children()  # reaps those that have ended
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            logger.error("vLLM did not let go of its thread within %d s; it is left behind.", _CLOSE_SECONDS)
        else:
            self._loop.close()

    async def _here(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def _build(self, arguments: Any) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        # Inside the running loop: only then does the engine's output task start with it and notice an early death.
        with without_main_module(), self._family.mark(), without_interrupts():
            self._llm = AsyncLLM.from_engine_args(arguments, stat_loggers=[self._listener])

    def _listener(self, vllm_config: Any, engine_index: int = 0) -> Any:
        from vllm.v1.metrics.loggers import StatLoggerBase

        heard, kv_cache_usage = self._heard, self._kv_cache_usage

        class Listener(StatLoggerBase):
            """Is told of every step of the engine, also of those that finish no prompt."""

            def __init__(self) -> None:
                pass

            def record(self, scheduler_stats: Any, *_: Any, engine_idx: int = 0, **__: Any) -> None:
                unfinished = heard[engine_idx][1] if engine_idx in heard else 0
                if scheduler_stats is not None:
                    unfinished = scheduler_stats.num_running_reqs + scheduler_stats.num_waiting_reqs
                    kv_cache_usage[engine_idx] = scheduler_stats.kv_cache_usage
                heard[engine_idx] = (time.monotonic(), unfinished)

            def log_engine_initialized(self) -> None:
                pass

        return Listener()

    async def _render(self, prompt: dict[str, Any]) -> Any:
        assert self._llm is not None
        (rendered,) = await self._llm.renderer.render_cmpl_async([prompt])  # type: ignore[list-item]
        _narrow_masks(rendered)
        return rendered

    async def _generate(self, rendered: Any, sampling: "SamplingParams", priority: int, copy: int | None) -> Any:
        output = await anext(self._outputs(rendered, sampling, priority, copy), None)
        return None if output is None else self._checked(output)

    async def _generate_twice_told(
        self, rendered: Any, sampling: "SamplingParams", priority: int, copy: int | None, on_read: Callable[[], None]
    ) -> Any:
        from vllm.sampling_params import RequestOutputKind

        sampling = sampling.clone()
        # So vLLM tells of the first token and of the end, and of nothing in between, each time of what is new.
        sampling.output_kind, sampling.stream_interval = RequestOutputKind.DELTA, _NEVER
        whole = None
        async for output in self._outputs(rendered, sampling, priority, copy):
            self._checked(output)
            if whole is None:
                whole = output
                on_read()
            else:
                whole.add(output, aggregate=True)
        return whole

    def _outputs(
        self, rendered: Any, sampling: "SamplingParams", priority: int, copy: int | None
    ) -> AsyncGenerator[Any, None]:
        assert self._llm is not None
        name = str(next(self._ids))
        return self._llm.generate(rendered, sampling, name, priority=priority, data_parallel_rank=copy)

    def _checked(self, output: Any) -> Any:
        from vllm.v1.engine.exceptions import EngineDeadError

        # Of a prompt that nobody took back: the process was told to end, by SIGTERM or since another of several died.
        if any(answer.finish_reason == "abort" for answer in output.outputs):
            self._gives_up = True
            raise EngineDeadError
        return output

    def _tell_to_stand_still(self, still: bool) -> None:
        async def tell() -> None:
            with contextlib.suppress(Exception):  # its end is noticed elsewhere
                if self._llm is not None and still:
                    await self._llm.engine_core.pause_scheduler_async(mode="keep", clear_cache=False)
                elif self._llm is not None:
                    await self._llm.engine_core.resume_scheduler_async()

        telling = self._loop.create_task(tell())
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _shut_down(self) -> None:
        # Tasks first: vLLM's own would take the end of the engine process for an accident, and log it as one.
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._llm is not None:
            await asyncio.to_thread(self._llm.shutdown)
            _close_sockets(self._llm.engine_core)
            self._llm = None  # its finaliser would run once more, in an interpreter that is half gone


def _close_sockets(client: Any) -> None:
    """
    Close what connects vLLM's client with its engines; on the client's loop. Idempotent.

    vLLM does, but where an engine died it does on a thread of its own, which hands it to this loop, at a time when the
    loop may have been stopped for good. ZeroMQ waits for sockets that are left open, for ever, on whichever thread
    happens to collect the garbage.
    """
    from vllm.utils.network_utils import close_sockets

    kept = client.resources
    close_sockets(
        (
            kept.output_socket,
            kept.input_socket,
            kept.first_req_send_socket,
            kept.first_req_rcv_socket,
            kept.stats_update_socket,
        )
    )


def _narrow_masks(rendered: Any) -> None:
    """
    Make a byte of each of a mask's numbers, which say no more than where a tile has padding.

    The image processor makes them of eight: more than the pixels of a tile take in bfloat16.
    """
    for frame in rendered.get("mm_kwargs", {}).get("image", ()):
        mask = frame["pixel_attention_mask"]
        mask.data = mask.data.bool()
