"""One request on one generation of the engine, turn by turn."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, get_args

from PIL import Image

from engine.confidence import Confidence
from engine.context import Context, Fit
from engine.conversation import Message, chat_text, with_frames, with_replies
from engine.errors import EngineDied, PromptRefused
from engine.generation import Generation
from engine.repetition import first_round
from engine.request import Completion, FinishReason, Request

if TYPE_CHECKING:
    from vllm import SamplingParams


class Passage(Protocol):
    """What happens to a prompt between its stages."""

    @property
    def priority(self) -> int:
        """In vLLM's scheduler; lower goes first."""

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
            sampling = request.sampling.clone()
            if request.confidence and turn == len(request.turns):
                sampling.logprobs = 0  # of the tokens that are chosen, and no others
            told = with_replies(messages, replies)
            completion, fit = await self._generate(generation, told, request, sampling, fit, passage)
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
        await self._generate(generation, request.turns[0], request, sampling, self.fit(request), WarmUp())

    def fit(self, request: Request) -> Fit:
        """
        Choose the resolution at which a request fits.

        :raises PromptRefused: if there is none
        """
        before_replies = [
            {**message, "content": "" if message["content"] is None else message["content"]}
            for message in request.turns[-1]
        ]

        def text(frames: int) -> str:
            clip = request.clip.last(frames) if request.clip else None
            return chat_text(self._processor, with_frames(before_replies, frames), clip)

        return self._context.fit(
            text,
            [image.size for image in request.images],
            request.sampling.max_tokens or self._context.length,
            longest_edge=self._context.tile_edge if request.clip else request.longest_edge,
            overflow=request.overflow,
            answers=len(request.turns),
        )

    async def _generate(
        self,
        generation: Generation,
        messages: Sequence[Message],
        request: Request,
        sampling: "SamplingParams",
        fit: Fit,
        passage: Passage,
    ) -> tuple[Completion, Fit]:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt = self._prompt(messages, request, fit)
        try:
            rendered = await generation.render(prompt)
            if request.images:
                self._tile_bytes = size_of(rendered) / self._tiles(request, fit)
            tokens = len(rendered["prompt_token_ids"])
            self._check_length(tokens, len(request.images))
            # Only replies that take more tokens to read than to write leave less room than was reckoned with.
            fit = replace(fit, max_new_tokens=min(fit.max_new_tokens, self._context.length - tokens))
            sampling.max_tokens = fit.max_new_tokens
            passage.prepared()
            output = await generation.generate(rendered, sampling, passage.priority, passage.on_read)
        except EngineDeadError as error:
            raise EngineDied("The engine process ended while the prompt was in flight.") from error
        except VLLMClientError as error:
            raise PromptRefused(f"The engine refused the prompt: {error}") from error
        except EngineGenerateError as error:
            if generation.died:
                raise EngineDied("The engine process ended while the prompt was in flight.") from error
            cause = error.__cause__ or error
            raise PromptRefused(f"The engine failed on the prompt: {type(cause).__name__}: {cause}") from error
        except ValueError as error:  # the processor's, on an image that it can't take
            raise PromptRefused(f"The prompt can't be prepared: {error}") from error
        if output is None:
            raise PromptRefused("The engine ended the prompt without an answer.")
        return self._completion(output, sampling, died=generation.died), fit

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

    def _completion(self, output: Any, sampling: "SamplingParams", *, died: bool) -> Completion:
        (answer,) = output.outputs
        if answer.finish_reason not in get_args(FinishReason):
            if died:
                raise EngineDied("The engine process ended while the prompt was in flight.")
            raise PromptRefused(
                f"The engine gave the prompt up ({answer.finish_reason}); its answer would be incomplete."
            )
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


def size_of(rendered: Any) -> int:
    """Return the bytes of a prepared prompt's tensors."""
    from vllm.multimodal.cache.base import MultiModalCache

    tensors = rendered.get("mm_kwargs")
    return MultiModalCache.get_item_size(tensors) if tensors else 0
