"""How tokens are chosen: the app's parameters, checked, and as vLLM takes them."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm import SamplingParams

_HIGHEST_TEMPERATURE = 2  # vLLM takes no more; with more, text is noise
_HIGHEST_PENALTY = 2  # with more, text is noise, too

# What counts as going in circles: three times the same 8 to 64 tokens, and so also 24 times the same token, or 12 times
# the same two. Less is no loop in this field: 00:00:00:00 is the same three tokens nearly four times.
_SHORTEST_LOOP = 8
_LONGEST_LOOP = 64
_ROUNDS = 3


@dataclass(frozen=True)
class Decoding:
    """
    The decoding parameters of a call, under their CLAMS names in errors.

    :param max_new_tokens: at least 1
    :param temperature: 0 to 2; 0 is greedy, and then top_p and top_k mean nothing
    :param top_p: in (0, 1]; 1 is off
    :param top_k: at least 1; 0 and -1 are off
    :param seed: repeats what is sampled; -1 is none
    :param repetition_penalty: above 0, up to 2; more than 1 makes tokens that prompt or reply have already less likely
    :param repetition_guard: ends a reply that goes in circles
    :raises ValueError: naming the parameter, its value and what it accepts
    """

    max_new_tokens: int = 200
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 50
    seed: int = -1
    repetition_penalty: float = 1.0
    repetition_guard: bool = False

    def __post_init__(self) -> None:
        _check("maxNewTokens", self.max_new_tokens, self.max_new_tokens >= 1, "an integer of at least 1")
        fine = 0 <= self.temperature <= _HIGHEST_TEMPERATURE
        _check("temperature", self.temperature, fine, f"0 (greedy) or a number up to {_HIGHEST_TEMPERATURE}")
        _check("topP", self.top_p, 0 < self.top_p <= 1, "a number above 0 and up to 1 (1 is off)")
        _check("topK", self.top_k, self.top_k >= -1, "a positive integer, or 0 or -1 (both are off)")
        _check("seed", self.seed, -1 <= self.seed < 2**63, "an integer from 0 to 2**63 - 1, or -1 (no seed)")
        fine = 0 < self.repetition_penalty <= _HIGHEST_PENALTY
        accepted = f"a number above 0 and up to {_HIGHEST_PENALTY} (1 is off)"
        _check("repetitionPenalty", self.repetition_penalty, fine, accepted)

    def sampling_params(self, *prompt: object) -> "SamplingParams":
        """
        Return vLLM's parameters: one output, yielded once, at its end.

        :param prompt: what tells this prompt from the others of a call; with a seed, each has random numbers of its own
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RepetitionDetectionParams, RequestOutputKind

        greedy = self.temperature == 0
        return SamplingParams(
            max_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=1.0 if greedy else self.top_p,
            top_k=0 if greedy else self.top_k,
            seed=None if greedy or self.seed < 0 else _stream(self.seed, *prompt),
            repetition_penalty=self.repetition_penalty,
            repetition_detection=RepetitionDetectionParams(_LONGEST_LOOP, _SHORTEST_LOOP, _ROUNDS)
            if self.repetition_guard
            else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def _stream(*identity: object) -> int:
    """Hash values to 63 bits; unlike ``hash()``, to the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(identity).encode()).digest()[:8]) >> 1


def _check(parameter: str, value: float, fine: bool, accepted: str) -> None:
    if not fine:
        raise ValueError(f'Value for parameter "{parameter}" must be {accepted}; got {value}.')
