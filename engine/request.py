"""What an engine is asked, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image

from engine.choosing import Odds
from engine.confidence import Confidence
from engine.context import Fit, Overflow
from engine.conversation import Clip, Message

if TYPE_CHECKING:
    from vllm import SamplingParams

FinishReason = Literal["stop", "length", "repetition"]


@dataclass(frozen=True)
class Request:
    """
    One prompt with its frames.

    :param turns: the chat messages of each generation, in order. One list for a single generation; of several, each
        continues the one before, its open assistant turns (``content`` is ``None``) taking the replies so far
    :param images: RGB frames, one for each image part of the messages
    :param sampling: how tokens are chosen in every generation
    :param longest_edge: px to which the longest side of each frame is resized; 0 is the model's own
    :param overflow: whether the frames may be smaller where the context can't hold the prompt otherwise
    :param clip: words the frames as SmolVLM2's video, each in one tile
    :param confidence: whether to tell how sure the model was of the last reply
    :param grammar: what the last reply has to follow, in llguidance's Lark
    :param choices: what the last reply has to be one of
    """

    turns: Sequence[Sequence[Message]]
    images: Sequence[Image.Image]
    sampling: "SamplingParams"
    longest_edge: int = 0
    overflow: Overflow = "skip"
    clip: Clip | None = None
    confidence: bool = False
    grammar: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completion:
    """
    The last reply to a request.

    :param text: without surrounding white space; never empty
    :param finish_reason: ``length`` if it was cut at the token limit, ``repetition`` if it went in circles
    :param prompt_tokens: tokens of the last generation's prompt, frames included
    :param completion_tokens: tokens of the last reply, those that were cut off included
    :param fit: how the request went to the model
    :param confidence: how sure the model was, if that was asked
    :param cached_tokens: those of ``prompt_tokens`` that the engine had computed before, for a prompt that began alike
    :param odds: the same of a choice
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    fit: Fit | None = None
    confidence: Confidence | None = None
    cached_tokens: int = 0
    odds: Odds | None = None

    @property
    def probability(self) -> float | None:
        """How likely the text was, if that was asked: of a choice among all choices, else the mean of its tokens."""
        if self.odds is not None:
            return self.odds.shares[self.text]
        return None if self.confidence is None else self.confidence.mean
