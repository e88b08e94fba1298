"""The parameters of one call, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from clams.app import ImagesPerPromptMode

from sampling.decoding import Decoding
from sampling.timepoints import Mode


@dataclass(frozen=True)
class Parameters:
    """What a caller asked for; the names are those of the CLAMS parameters in this language's spelling."""

    labels: frozenset[str]
    prompt: tuple[str, ...]
    system_prompt: str
    prompt_mode: str
    sampling_mode: Mode
    decoding: Decoding
    parallel_prompts: int
    max_images: int
    images_mode: ImagesPerPromptMode

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
            parallel_prompts=refined["parallelPrompts"],
            max_images=refined["maxImagesPerPrompt"],
            images_mode=ImagesPerPromptMode(refined["imagesPerPromptMode"]),
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
    )


def _at_least(refined: Mapping[str, Any], name: str, least: int) -> None:
    if refined[name] < least:
        raise ValueError(f'Value for parameter "{name}" must be an integer of at least {least}; got {refined[name]}.')
