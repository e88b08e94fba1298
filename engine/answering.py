"""One request on one generation of the engine, turn by turn."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, get_args

from PIL import Image

from engine.choosing import chosen, weigh
from engine.confidence import Confidence
from engine.context import Context, Fit
from engine.conversation import Message, answer_text, chat_text, with_frames, with_replies
from engine.errors import EngineDied, PromptRefused
from engine.generation import Generation
from engine.repetition import first_round
from engine.request import Completion, FinishReason, Request
from engine.settings import BACKGROUND

if TYPE_CHECKING:
    from vllm import SamplingParams

_QUESTIONS_AT_ONCE = 4  # about one prompt's choices: each takes the tensors of all its frames along

_DIED = "The engine process ended while the prompt was in flight."


class Passage(Protocol):
    """What happens to a prompt between its stages."""

    @property
    def priority(self) -> int:
        """In vLLM's scheduler; lower goes first."""

    @property
    def copy(self) -> int | None:
        """Which of several copies of the model answers it; ``None`` leaves that to vLLM."""

    @property
    def background(self) -> bool:
        """Whether it makes room for others there."""

    async def prepare_again(self) -> None:
        """Wait until another turn of the prompt may be prepared."""

    def prepared(self) -> None:
        """Note that the prompt is prepared, and goes into vLLM now."""

    @property
    def on_read(self) -> Callable[[], None] | None:
        """To be called when the model has read the prompt, if anyone waits for that."""


class WarmUp:
    """The passage of a prompt that is alone in the engine."""

    priority = 0
    copy = None
    background = False
    on_read = None

    async def prepare_again(self) -> None:
        """Go on."""

    def prepared(self) -> None:
        """Go on."""


class Answering:
    """
    Answers requests.

    :param processor: the model's processor in transformers
    :param context: the model's context
    """

    def __init__(self, processor: Any, context: Context) -> None:
        self._processor = processor
        self._context = context
        self._tile_bytes = 0.0  # that a tile holds once it is prepared, as last measured
        self._answers = functools.lru_cache(maxsize=32)(self._tokens)  # all prompts of a call have the same choices

    def held(self, request: Request, fit: Fit) -> int:
        """Return the bytes that a request's frames will hold in this process from being prepared to being answered."""
        return round(self._tiles(request, fit) * self._tile_bytes)

    async def answer(self, generation: Generation, request: Request, fit: Fit, passage: Passage) -> Completion:
        """
        Answer a request that may be prepared now.

        :param fit: of :meth:`fit`
        :raises PromptRefused: if the engine can't answer this request
        :raises EngineDied: if the generation is gone
        """
        replies: list[str] = []
        for turn, messages in enumerate(request.turns, start=1):
            if replies:
                await passage.prepare_again()
            rendered, fit = await self._prepare(generation, with_replies(messages, replies), request, fit, passage)
            sampling = self._sampling(request, fit, last=turn == len(request.turns))
            if request.choices and turn == len(request.turns):
                completion = await self._choose(generation, rendered, request, passage)
            else:
                completion = await self._reply(generation, rendered, sampling, passage)
            replies.append(completion.text)
        if not completion.text:
            raise PromptRefused("The model answered with nothing; another prompt may help.")
        return replace(completion, fit=fit)

    async def warm_up(self, generation: Generation) -> None:
        """Answer a first prompt of several frames, so that the next one finds everything loaded."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(max_tokens=2, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)
        frames = [Image.new("RGB", (640, 480), colour) for colour in ("black", "grey")]
        parts: list[dict[str, str]] = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "?"}]
        request = Request([[{"role": "user", "content": parts}]], frames, sampling)
        passage, fit = WarmUp(), self.fit(request)
        rendered, fit = await self._prepare(generation, request.turns[0], request, fit, passage)
        await self._reply(generation, rendered, sampling, passage)

    def fit(self, request: Request) -> Fit:
        """
        Choose the resolution at which a request fits.

        :raises PromptRefused: if there is none
        """
        return self._context.fit(
            self._text(request),
            [image.size for image in request.images],
            self._room(request),
            longest_edge=self._context.tile_edge if request.clip else request.longest_edge,
            overflow=request.overflow,
            answers=len(request.turns),
        )

    def check_frames(self, request: Request, frames: int) -> None:
        """
        See whether a request could have so many frames, before they are read.

        :param request: the same with two frames, of any size
        :raises PromptRefused: if it could not
        """
        self._context.check_frames(
            self._text(request),
            frames,
            self._room(request),
            wanted_edge=self._context.tile_edge if request.clip else request.longest_edge,
            answers=len(request.turns),
        )

    def _text(self, request: Request) -> Callable[[int], str]:
        """Make what makes the text of a request for a number of its frames, replies still to come left empty."""
        before_replies = [
            {**message, "content": "" if message["content"] is None else message["content"]}
            for message in request.turns[-1]
        ]

        def text(frames: int) -> str:
            clip = request.clip.last(frames) if request.clip else None
            return chat_text(self._processor, with_frames(before_replies, frames), clip)

        return text

    def _room(self, request: Request) -> int:
        """Tokens that each reply to a request may need."""
        asked = request.sampling.max_tokens or self._context.length
        longest = max(map(len, self._answers(request.choices)), default=0)
        if not longest:
            return asked
        return longest if len(request.turns) == 1 else max(asked, longest)

    def _tokens(self, choices: tuple[str, ...]) -> list[tuple[int, ...]]:
        return [self._context.token_ids(answer_text(self._processor, choice)) for choice in choices]

    def _sampling(self, request: Request, fit: Fit, *, last: bool) -> "SamplingParams":
        from vllm.sampling_params import StructuredOutputsParams

        sampling = request.sampling.clone()
        sampling.max_tokens = fit.max_new_tokens
        if last and request.confidence:
            sampling.logprobs = 0  # of the tokens that are said, and no others
        if last and request.grammar:
            sampling.structured_outputs = StructuredOutputsParams(grammar=request.grammar)
        return sampling

    async def _prepare(
        self, generation: Generation, messages: Sequence[Message], request: Request, fit: Fit, passage: Passage
    ) -> tuple[Any, Fit]:
        prompt = self._prompt(messages, request, fit)
        with _in_our_words(generation):
            rendered = await generation.render(prompt)
        if request.images:
            self._tile_bytes = size_of(rendered) / self._tiles(request, fit)
        tokens = len(rendered["prompt_token_ids"])
        self._check_length(tokens, len(request.images))
        passage.prepared()
        # Only replies that take more tokens to read than to write leave less room than was reckoned with.
        return rendered, replace(fit, max_new_tokens=min(fit.max_new_tokens, self._context.length - tokens))

    async def _reply(
        self, generation: Generation, rendered: Any, sampling: "SamplingParams", passage: Passage
    ) -> Completion:
        with _in_our_words(generation):
            output = await generation.generate(
                rendered, _marked(sampling, passage), passage.priority, passage.on_read, passage.copy
            )
        answer = _finished(output, generation)
        tokens, text = answer.token_ids, answer.text
        if answer.finish_reason == "repetition":
            assert sampling.repetition_detection is not None
            tokens = tokens[: first_round(tokens, sampling.repetition_detection)]
            text = self._processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return Completion(
            text=text.strip(),
            finish_reason=answer.finish_reason,
            prompt_tokens=len(output.prompt_token_ids),
            completion_tokens=len(answer.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            confidence=None if answer.logprobs is None else Confidence.of(tokens, answer.logprobs),
        )

    async def _choose(self, generation: Generation, rendered: Any, request: Request, passage: Passage) -> Completion:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        prompt = list(rendered["prompt_token_ids"])
        turns = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

        async def ask(beginning: Sequence[int], following: Sequence[int]) -> dict[int, float]:
            sampling = SamplingParams(
                max_tokens=1,
                temperature=0,
                logprob_token_ids=list(following),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            begun = {**rendered, "prompt_token_ids": [*prompt, *beginning]}
            on_read = None if beginning else passage.on_read  # with the first question, the prompt is read
            with _in_our_words(generation):
                async with turns:
                    output = await generation.generate(
                        begun, _marked(sampling, passage), passage.priority, on_read, passage.copy
                    )
            (place,) = _finished(output, generation).logprobs
            return {token: place[token].logprob for token in following}

        answers, temperature = self._answers(request.choices), request.sampling.temperature
        everything = request.confidence or temperature > 0
        weights = await weigh(answers, ask, all_of_them=everything)
        number = chosen(weights.relative, temperature, request.sampling.seed)
        return Completion(
            text=request.choices[number],
            finish_reason="stop",
            prompt_tokens=len(prompt),
            completion_tokens=len(answers[number]),
            odds=weights.odds(request.choices) if request.confidence else None,
        )

    def _prompt(self, messages: Sequence[Message], request: Request, fit: Fit) -> dict[str, Any]:
        """Say to vLLM what is to be prepared."""
        prompt: dict[str, Any] = {"prompt": chat_text(self._processor, messages, request.clip)}
        self._check_placeholders(prompt["prompt"], len(request.images))
        if request.images:
            prompt["multi_modal_data"] = {"image": list(request.images)}
            prompt |= self._context.processor_kwargs(fit.longest_edge)
        return prompt

    def _tiles(self, request: Request, fit: Fit) -> int:
        return sum(self._context.tiles(image.size, fit.longest_edge) for image in request.images)

    def _check_placeholders(self, text: str, images: int) -> None:
        # vLLM would answer all the same, with frames in the wrong places.
        token = self._processor.image_token
        if (found := text.count(token)) != images:
            raise PromptRefused(
                f"The prompt has {found} places for {images} frame(s). Text that reads {token} stands for a frame in "
                "this model's prompts; leave it out of prompt and systemPrompt."
            )

    def _check_length(self, tokens: int, images: int) -> None:
        if tokens >= self._context.length:
            raise PromptRefused(
                f"The prompt is too long: {tokens} tokens with its {images} frame(s) and the replies so far, of "
                f"{self._context.length} that the model takes. Lower maxNewTokens, or set maxImagesPerPrompt."
            )


def _marked(sampling: "SamplingParams", passage: Passage) -> "SamplingParams":
    """Tell vLLM's scheduler of a background prompt."""
    if passage.background:
        sampling.extra_args = {BACKGROUND: True}
    return sampling


def size_of(rendered: Any) -> int:
    """Return the bytes of a prepared prompt's tensors."""
    from vllm.multimodal.cache.base import MultiModalCache

    tensors = rendered.get("mm_kwargs")
    return MultiModalCache.get_item_size(tensors) if tensors else 0


@contextlib.contextmanager
def _in_our_words(generation: Generation) -> Iterator[None]:
    """Say what vLLM raises in the engine's own errors."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    try:
        yield
    except EngineDeadError as error:
        raise EngineDied(_DIED) from error
    except VLLMClientError as error:
        raise PromptRefused(f"The engine refused the prompt: {error}") from error
    except EngineGenerateError as error:
        if generation.died:
            raise EngineDied(_DIED) from error
        cause = error.__cause__ or error
        raise PromptRefused(f"The engine failed on the prompt: {type(cause).__name__}: {cause}") from error
    except ValueError as error:  # the processor's, on an image that it can't take
        raise PromptRefused(f"The prompt can't be prepared: {error}") from error


def _finished(output: Any, generation: Generation) -> Any:
    """Return the one answer of vLLM's output, if it is whole."""
    if output is None:
        raise PromptRefused("The engine ended the prompt without an answer.")
    (answer,) = output.outputs
    if answer.finish_reason not in get_args(FinishReason):
        if generation.died:
            raise EngineDied(_DIED)
        raise PromptRefused(f"The engine gave the prompt up ({answer.finish_reason}); its answer would be incomplete.")
    return answer
