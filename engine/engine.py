"""The vLLM engine on its own event loop, for callers on any thread."""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import psutil
from PIL import Image

from engine.context import Context, Fit, Overflow
from engine.conversation import Clip, Message, chat_text, with_frames, with_replies
from engine.errors import EngineDied, EngineStartError, EngineUnavailable, PromptRefused
from engine.model import Model, fetch
from engine.settings import EngineSettings, engine_args, prepare_environment
from engine.spawning import without_main_module

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

logger = logging.getLogger(__name__)

State = Literal["new", "starting", "ready", "dead", "closed"]


@dataclass(frozen=True)
class Request:
    """
    One prompt with its frames.

    :param turns: the chat messages of each generation, in order. One list for a single generation; of several, each
        continues the one before, its open assistant turns (``content`` is ``None``) taking the replies so far
    :param images: RGB frames, one for each image part of the messages
    :param sampling: how tokens are chosen in every generation
    :param priority: lower goes first
    :param longest_edge: px to which the longest side of each frame is resized; 0 is the model's own
    :param overflow: whether the frames may be smaller where the context can't hold the prompt otherwise
    :param clip: words the frames as SmolVLM2's video, each in one tile
    """

    turns: Sequence[Sequence[Message]]
    images: Sequence[Image.Image]
    sampling: "SamplingParams"
    priority: int = 0
    longest_edge: int = 0
    overflow: Overflow = "skip"
    clip: Clip | None = None


@dataclass(frozen=True)
class Completion:
    """
    The last reply to a request.

    :param text: without surrounding white space; never empty
    :param finish_reason: ``length`` if it was cut at the token limit
    :param prompt_tokens: tokens of the last generation's prompt, frames included
    :param completion_tokens: tokens of the last reply
    :param fit: how the request went to the model
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    fit: Fit | None = None


class Engine:
    """
    Runs one model for all callers of a process. Thread-safe; has to be started before, and closed after use.

    :param settings: see there
    :param model: which model to run
    """

    def __init__(self, settings: EngineSettings, model: Model) -> None:
        self.settings = settings
        self.model = model
        self.state: State = "new"
        self.in_flight = 0  # requests submitted and not done; written on the loop's thread alone
        self.context_length = 0  # tokens, known once ready
        self.context: Context  # known once ready
        self.on_death: Callable[[], None] = lambda: None  # told once when the engine process ends by itself
        self._ids = itertools.count()
        self._start_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._llm: AsyncLLM
        self._processor: Any

    def start(self) -> None:
        """
        Build the engine and answer a first prompt, so that the next one finds everything warm. Takes 20 s and more;
        returns at once when the engine is ready already.

        :raises EngineStartError: if the model is not to be had, does not fit, or doesn't answer
        :raises EngineUnavailable: if the engine is dead or closed
        """
        with self._start_lock:
            if self.state == "ready":
                return
            if self.state != "new":
                raise EngineUnavailable(f"The engine is {self.state}.")
            self.state = "starting"
            began = time.monotonic()
            self._loop = asyncio.new_event_loop()  # not before: the server forks between __init__ and start
            self._thread = threading.Thread(target=self._loop.run_forever, name="engine-loop", daemon=True)
            self._thread.start()
            try:
                self._build()
                self._warm_up()
            except Exception as error:
                self.close()
                raise (
                    error if isinstance(error, EngineStartError) else EngineStartError(_start_failure(error))
                ) from error
            self.state = "ready"
            logger.info("Engine ready with %s after %.1f s", self.model.record, time.monotonic() - began)

    def submit(self, request: Request) -> "Future[Completion]":
        """
        Put a request in flight. The future can be cancelled; it raises

        * :class:`PromptRefused` if the engine can't answer this request, and
        * :class:`EngineDied` if it went away, or :class:`EngineUnavailable` if it is not there.
        """
        if self.state != "ready":
            refused: Future[Completion] = Future()
            refused.set_exception(EngineUnavailable(f"The engine takes no prompts: it is {self.state}."))
            return refused
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)

    @property
    def is_ready(self) -> bool:
        """Whether the engine takes prompts; asks the engine process, so that one that died idle is noticed too."""
        if self.state == "ready" and self._llm.errored:
            self._mark_dead()
        return self.state == "ready"

    @property
    def unfinished_in_vllm(self) -> int:
        """How many requests vLLM itself still counts, for tests that nothing leaks."""
        return self._llm.get_num_unfinished_requests()

    @property
    def pids(self) -> set[int]:
        """The ids of this process and of the engine's, its children."""
        own = psutil.Process()
        return {own.pid, *(child.pid for child in own.children(recursive=True))}

    def close(self) -> None:
        """End the engine and its processes; what is in flight fails with :class:`EngineUnavailable`. Idempotent."""
        if self.state in ("new", "closed"):
            self.state = "closed"
            return
        self.state = "closed"
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _build(self) -> None:
        prepare_environment(self.settings, offline=self.model.folder is not None)
        folder = fetch(self.model)
        from transformers import AutoProcessor

        self._processor = AutoProcessor.from_pretrained(folder)
        arguments = engine_args(self.settings, folder)
        asyncio.run_coroutine_threadsafe(self._build_on_loop(arguments), self._loop).result()

    async def _build_on_loop(self, arguments: Any) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        # Inside the running loop: only then does the engine's output task start with it and notice an early death.
        with without_main_module():
            self._llm = AsyncLLM.from_engine_args(arguments)
        self.context_length = self._llm.model_config.max_model_len
        self.context = Context(self._processor, self.context_length)

    def _warm_up(self) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(max_tokens=2, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)
        frames = [Image.new("RGB", (640, 480), colour) for colour in ("black", "grey")]
        parts: list[dict[str, str]] = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "?"}]
        request = Request([[{"role": "user", "content": parts}]], frames, sampling)
        fit = self._fit(request)
        asyncio.run_coroutine_threadsafe(self._generate(request.turns[0], request, fit), self._loop).result()

    async def _answer(self, request: Request) -> Completion:
        self.in_flight += 1
        try:
            replies: list[str] = []
            fit = self._fit(request)
            for messages in request.turns:
                completion, fit = await self._generate(with_replies(messages, replies), request, fit)
                replies.append(completion.text)
            if not completion.text:
                raise PromptRefused("The model answered with nothing; another prompt may help.")
            return replace(completion, fit=fit)
        except asyncio.CancelledError:
            if self.state == "closed":
                raise EngineUnavailable("The engine was closed while the prompt was in flight.") from None
            raise
        finally:
            self.in_flight -= 1

    def _fit(self, request: Request) -> Fit:
        before_replies = [
            {**message, "content": "" if message["content"] is None else message["content"]}
            for message in request.turns[-1]
        ]

        def text(frames: int) -> str:
            clip = request.clip.last(frames) if request.clip else None
            return chat_text(self._processor, with_frames(before_replies, frames), clip)

        return self.context.fit(
            text,
            [image.size for image in request.images],
            request.sampling.max_tokens or self.context_length,
            longest_edge=self.context.tile_edge if request.clip else request.longest_edge,
            overflow=request.overflow,
            answers=len(request.turns),
        )

    async def _generate(self, messages: Sequence[Message], request: Request, fit: Fit) -> tuple[Completion, Fit]:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt: dict[str, Any] = {"prompt": chat_text(self._processor, messages, request.clip)}
        self._check_placeholders(prompt["prompt"], len(request.images))
        if request.images:
            prompt["multi_modal_data"] = {"image": list(request.images)}
            prompt |= self.context.processor_kwargs(fit.longest_edge)
        try:
            (rendered,) = await self._llm.renderer.render_cmpl_async([prompt])  # type: ignore[list-item]
            tokens = len(rendered["prompt_token_ids"])
            self._check_length(tokens, len(request.images))
            # Only replies that take more tokens to read than to write leave less room than was reckoned with.
            fit = replace(fit, max_new_tokens=min(fit.max_new_tokens, self.context_length - tokens))
            sampling = request.sampling.clone()
            sampling.max_tokens = fit.max_new_tokens
            outputs = self._llm.generate(rendered, sampling, str(next(self._ids)), priority=request.priority)
            async for output in outputs:
                return _completion(output), fit
        except EngineDeadError as error:
            self._mark_dead()
            raise EngineDied("The engine process ended while the prompt was in flight.") from error
        except VLLMClientError as error:
            raise PromptRefused(f"The engine refused the prompt: {error}") from error
        except EngineGenerateError as error:
            cause = error.__cause__ or error
            raise PromptRefused(f"The engine failed on the prompt: {type(cause).__name__}: {cause}") from error
        except ValueError as error:  # the processor's, on an image that it can't take
            raise PromptRefused(f"The prompt can't be prepared: {error}") from error
        raise PromptRefused("The engine ended the prompt without an answer.")

    def _check_placeholders(self, text: str, images: int) -> None:
        # vLLM would answer all the same, with frames in the wrong places.
        token = self._processor.image_token
        if (found := text.count(token)) != images:
            raise PromptRefused(
                f"The prompt has {found} places for {images} frame(s). Text that reads {token} stands for a frame in "
                "this model's prompts; leave it out of prompt and systemPrompt."
            )

    def _check_length(self, tokens: int, images: int) -> None:
        if tokens >= self.context_length:
            raise PromptRefused(
                f"The prompt is too long: {tokens} tokens with its {images} frame(s) and the replies so far, of "
                f"{self.context_length} that the model takes. Lower maxNewTokens, or set maxImagesPerPrompt."
            )

    def _mark_dead(self) -> None:
        if self.state == "ready":
            self.state = "dead"
            logger.error("The engine process ended unexpectedly; its log above may say why.")
            self.on_death()

    async def _shut_down(self) -> None:
        # Tasks first: vLLM's own would take the end of the engine process for an accident, and log it as one.
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if hasattr(self, "_llm"):
            await asyncio.to_thread(self._llm.shutdown)
            del self._llm  # its finaliser would run once more, in an interpreter that is half gone


def _completion(output: Any) -> Completion:
    (answer,) = output.outputs
    if answer.finish_reason not in ("stop", "length"):
        raise PromptRefused(f"The engine gave the prompt up ({answer.finish_reason}); its answer would be incomplete.")
    return Completion(
        text=answer.text.strip(),
        finish_reason=answer.finish_reason,
        prompt_tokens=len(output.prompt_token_ids),
        completion_tokens=len(answer.token_ids),
    )


def _start_failure(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"{error}. Set CAPTIONER_MODEL (--model-path) to a folder that holds the checkpoint, or try the app with its "
            "embedded demonstration model: CAPTIONER_MODEL=demo."
        )
    return f"The engine did not start: {type(error).__name__}: {error}"
