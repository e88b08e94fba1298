"""The parameters of one call, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from clams.app import ImagesPerPromptMode

from captioning.form import Form
from engine.context import Overflow
from sampling.decoding import Decoding
from sampling.timepoints import Mode

FrameFormat = Literal["images", "video"]


@dataclass(frozen=True)
class Framing:
    """
    How frames are shown to the model.

    :param longest_edge: px to which the longest side of each is resized; 0 is the model's own
    :param overflow: what to do where they don't fit
    :param format: as images, or worded as those of a video
    """

    longest_edge: int
    overflow: Overflow
    format: FrameFormat

    @classmethod
    def of(cls, refined: Mapping[str, Any]) -> Self:
        """
        Take what concerns frames out of refined CLAMS parameters.

        :raises ValueError: naming the parameter, what it accepts and what it got
        """
        _at_least(refined, "longestEdge", 0)
        _one_of(refined, "contextOverflow", get_args(Overflow))
        _one_of(refined, "frameFormat", get_args(FrameFormat))
        if refined["frameFormat"] == "video" and refined["longestEdge"]:
            raise ValueError(
                'Value for parameter "longestEdge" must be 0 where "frameFormat" is video, which shows every frame at '
                f"the model's smallest size; got {refined['longestEdge']}."
            )
        return cls(refined["longestEdge"], refined["contextOverflow"], refined["frameFormat"])


@dataclass(frozen=True)
class Parameters:
    """What a caller asked for; the names are those of the CLAMS parameters in this language's spelling."""

    labels: frozenset[str]
    prompt: tuple[str, ...]
    system_prompt: str
    prompt_mode: str
    sampling_mode: Mode
    decoding: Decoding
    framing: Framing
    parallel_prompts: int
    max_images: int
    images_mode: ImagesPerPromptMode
    confidence: bool
    form: Form

    @classmethod
    def of(cls, refined: Mapping[str, Any]) -> Self:
        """
        Check refined CLAMS parameters.

        :raises ValueError: naming the parameter, what it accepts and what it got
        """
        _at_least(refined, "parallelPrompts", 1)
        _at_least(refined, "maxImagesPerPrompt", 0)
        if not refined["prompt"]:
            raise ValueError('Value for parameter "prompt" must be one or more texts; got none.')
        return cls(
            labels=frozenset(refined["tfLabels"]),
            prompt=tuple(refined["prompt"]),
            system_prompt=refined["systemPrompt"],
            prompt_mode=refined["promptMode"],
            sampling_mode=refined["tfSamplingMode"],
            decoding=decoding_of(refined),
            framing=Framing.of(refined),
            parallel_prompts=refined["parallelPrompts"],
            max_images=refined["maxImagesPerPrompt"],
            images_mode=ImagesPerPromptMode(refined["imagesPerPromptMode"]),
            confidence=refined["captionConfidence"],
            form=Form.of(refined),
        )


def decoding_of(refined: Mapping[str, Any]) -> Decoding:
    """
    Take the decoding parameters out of refined CLAMS parameters.

    :raises ValueError: naming the parameter, what it accepts and what it got
    """
    return Decoding(
        max_new_tokens=refined["maxNewTokens"],
        temperature=refined["temperature"],
        top_p=refined["topP"],
        top_k=refined["topK"],
        seed=refined["seed"],
        repetition_penalty=refined["repetitionPenalty"],
        repetition_guard=refined["repetitionGuard"],
    )


def _at_least(refined: Mapping[str, Any], name: str, least: int) -> None:
    if refined[name] < least:
        accepted = f"an integer of at least {least}"
        raise ValueError(f'Value for parameter "{name}" must be {accepted}; got {refined[name]}.')


def _one_of(refined: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> None:
    if refined[name] not in choices:
        raise ValueError(f'Value for parameter "{name}" must be one of {list(choices)}; got {refined[name]!r}.')
