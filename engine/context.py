"""
What a prompt costs in tokens, and the resolution at which it fits.

All of it is asked of the model's own processor: how many tiles a frame becomes, the text that stands for them, and the
tokens of that text.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import PromptRefused

Size = tuple[int, int]  # width and height in px
Overflow = Literal["shrink", "skip"]

# Where maxNewTokens asks for more than even one frame could leave, frames are shrunk no further than it takes to leave
# this many tokens, which is the app's default for maxNewTokens.
USUAL_ANSWER = 200

_TEXTS_KEPT = 32  # whose tokens are known
_LONGEST_TOKEN = 16  # characters that a token of a text may have on average, several times what languages need
_NO_ROOM = "Its text leaves no room: shorten prompt and systemPrompt, or lower maxNewTokens."


@dataclass(frozen=True)
class Fit:
    """
    How a prompt goes to the model.

    :param longest_edge: px, to which the longest side of every frame is resized before tiling
    :param wanted_edge: px, the same as it was asked for
    :param max_new_tokens: tokens that each answer may have
    :param wanted_tokens: the same as it was asked for
    :param prompt_tokens: tokens of the prompt, frames included, before any reply
    """

    longest_edge: int
    wanted_edge: int
    max_new_tokens: int
    wanted_tokens: int
    prompt_tokens: int


class Context:
    """
    The context of one model. Thread-safe.

    :param processor: the model's processor in transformers
    :param length: tokens that a prompt and its answer may have together
    :raises ValueError: if the processor's own resolution can't be cut into whole tiles: vLLM and transformers then
        disagree about the number of tiles, and frames run into one another
    """

    def __init__(self, processor: Any, length: int) -> None:
        self.length = length
        self.tile_edge: int = processor.image_processor.max_image_size["longest_edge"]
        self.own_edge: int = processor.image_processor.size["longest_edge"]
        if self.own_edge % self.tile_edge:
            raise ValueError(
                f"the image processor's size.longest_edge is {self.own_edge} px; it has to be a multiple of the edge "
                f"of a tile, max_image_size.longest_edge, which is {self.tile_edge} px"
            )
        self._processor = processor
        self._encode = processor.tokenizer.backend_tokenizer.encode  # the tokenizer's own call is not thread-safe
        self._tiles_tokens = functools.lru_cache(maxsize=None)(self._count_tiles_tokens)
        self._known_ids = functools.lru_cache(maxsize=_TEXTS_KEPT)(self._ids)  # a call's prompts say mostly the same

    @property
    def edges(self) -> tuple[int, ...]:
        """The longest edges that frames can be resized to, in px, the model's own (the largest) first."""
        return tuple(range(self.own_edge, 0, -self.tile_edge))

    def check_edge(self, longest_edge: int) -> None:
        """
        Check the parameter ``longestEdge``, 0 being the model's own.

        :raises ValueError: listing what it may be
        """
        if longest_edge and longest_edge not in self.edges:
            allowed = ", ".join(str(edge) for edge in reversed(self.edges))
            raise ValueError(
                f'Value for parameter "longestEdge" must be one of {allowed} px, or 0 for the model\'s own, '
                f"{self.own_edge}; got {longest_edge}."
            )

    def tokens(self, text: str) -> int:
        """Count the tokens of a text, each ``<image>`` being one."""
        return len(self.token_ids(text))

    def token_ids(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text."""
        return self._known_ids(text)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._encode(text).ids)

    def frame_tokens(self, size: Size, longest_edge: int) -> int:
        """
        Count the tokens that a frame becomes.

        :param size: px
        :param longest_edge: px, one of :attr:`edges`
        """
        return self._tiles_tokens(*self._grid(size, longest_edge))

    def tiles(self, size: Size, longest_edge: int) -> int:
        """Count the tiles that a frame becomes, the one that shows the whole included; parameters as above."""
        rows, columns = self._grid(size, longest_edge)
        return rows * columns + 1

    def prompt_tokens(self, text: str, sizes: Sequence[Size], longest_edge: int) -> int:
        """
        Count the tokens of a prompt as the engine does.

        :param text: chat text with an ``<image>`` for each frame
        :param sizes: of the frames, in px
        :param longest_edge: px, one of :attr:`edges`
        """
        return self.tokens(text) + sum(self.frame_tokens(size, longest_edge) - 1 for size in sizes)

    def fit(
        self,
        text: Callable[[int], str],
        sizes: Sequence[Size],
        max_new_tokens: int,
        *,
        longest_edge: int = 0,
        overflow: Overflow = "shrink",
        answers: int = 1,
    ) -> Fit:
        """
        Choose the largest resolution, the same for all frames, at which a prompt leaves room for its answers.

        ``max_new_tokens`` is kept, and frames are shrunk for it, unless no prompt of this text could keep it, not even
        with one frame in one tile: then it is reduced to the room there is.

        :param text: makes the chat text for a number of frames, replies still to come left empty
        :param sizes: of the frames, in px
        :param max_new_tokens: tokens that each answer may have
        :param longest_edge: px, one of :attr:`edges`, that the frames get if it fits; 0 is the model's own
        :param overflow: whether to take a smaller resolution where this one does not fit
        :param answers: how many answers, one after the other, the context has to hold
        :raises PromptRefused: if it does not fit, saying what is needed, what there is, and how many frames would fit
        """
        characters = len(text(0))
        if characters > _LONGEST_TOKEN * self.length:  # looking for its tokens would take seconds, in which all wait
            raise PromptRefused(
                f"The prompt is too long: {characters} characters of text, where the model takes {self.length} tokens. "
                "Shorten prompt and systemPrompt."
            )
        wanted = longest_edge or self.own_edge
        edges = [edge for edge in self.edges if edge <= wanted] if overflow == "shrink" and sizes else [wanted]
        room = self._room_beside_one_frame(text, sizes, edges[-1], answers)
        answer = max_new_tokens if max_new_tokens <= room else min(room, USUAL_ANSWER)
        words = self.tokens(text(len(sizes))) - len(sizes)
        for edge in edges:
            tokens = words + sum(self.frame_tokens(size, edge) for size in sizes)
            if answer > 0 and tokens + answers * answer <= self.length:
                kept = min(max_new_tokens, (self.length - tokens) // answers)
                return Fit(edge, wanted, kept, max_new_tokens, tokens)
        raise PromptRefused(self._refusal(text, sizes, wanted, edges[-1], answers, max(answer, 1)))

    def check_frames(
        self, text: Callable[[int], str], frames: int, max_new_tokens: int, *, wanted_edge: int = 0, answers: int = 1
    ) -> None:
        """
        See whether a prompt could take so many frames, of whatever size, each in one tile. :meth:`fit` goes on from
        there, with frames that have been read.

        :param text: makes the chat text for one frame, and for two; as for :meth:`fit`
        :param wanted_edge: px that the frames are to have if that fits; 0 is the model's own
        :raises PromptRefused: if it could not, with the number that it could take
        """
        tile = self.frame_tokens((self.tile_edge, self.tile_edge), self.tile_edge)
        if frames * tile <= self.length:
            return
        one, two = (self.tokens(text(count)) for count in (1, 2))
        each, words = two - one + tile - 1, one - (two - one)
        room = (self.length - words - each) // answers
        answer = max(1, max_new_tokens if max_new_tokens <= room else min(room, USUAL_ANSWER))
        fitting = max(0, self.length - words - answers * answer) // each
        said = self._too_long(words + frames * each + answers * answer, frames, self.tile_edge, answers * answer)
        if not fitting:
            raise PromptRefused(f"{said} {_NO_ROOM}")
        wanted = wanted_edge or self.own_edge
        more = f", to fewer to keep {wanted} px" if wanted > self.tile_edge else ""
        raise PromptRefused(f"{said} {_in_parts(fitting)}{more}.")

    def processor_kwargs(self, longest_edge: int) -> dict[str, Any]:
        """Return what a prompt tells vLLM of a longest edge in px: nothing for the model's own."""
        if longest_edge == self.own_edge:
            return {}
        return {
            "mm_processor_kwargs": {"size": {"longest_edge": longest_edge}}
        }  # flat: vLLM's engine dies of nested keys

    def _grid(self, size: Size, longest_edge: int) -> tuple[int, int]:
        """Rows and columns of tiles; 0 and 0 are a single tile."""
        width, height = size
        images = self._processor.image_processor
        _, rows, columns = images.get_number_of_image_patches(height, width, {"size": {"longest_edge": longest_edge}})
        return rows, columns

    def _count_tiles_tokens(self, rows: int, columns: int) -> int:
        return self.tokens(self._processor.replace_image_token({"rows": [[rows]], "cols": [[columns]]}, 0))

    def _room_beside_one_frame(self, text: Callable[[int], str], sizes: Sequence[Size], edge: int, answers: int) -> int:
        costliest = sorted(sizes, key=lambda size: self.frame_tokens(size, edge))[-1:]
        return (self.length - self.prompt_tokens(text(len(costliest)), costliest, edge)) // answers

    def _refusal(
        self, text: Callable[[int], str], sizes: Sequence[Size], wanted: int, least: int, answers: int, answer: int
    ) -> str:
        needed = self.prompt_tokens(text(len(sizes)), sizes, least) + answers * answer
        said = self._too_long(needed, len(sizes), least, answers * answer)
        fitting = self._frames_that_fit(text, sizes, least, answers * answer)
        if not fitting:
            return f"{said} {_NO_ROOM}"
        said += f" {_in_parts(fitting)}"
        if whole := self._frames_that_fit(text, sizes, wanted, answers * answer) if wanted > least else 0:
            return f"{said}, to {whole} or less to keep {wanted} px."
        if least > self.tile_edge:
            return f"{said}, or contextOverflow to shrink."
        return f"{said}."

    def _too_long(self, needed: int, frames: int, edge: int, answer: int) -> str:
        shown = f"its {frames} frame(s) at {edge} px and " if frames else ""
        room = f"{answer} for the answer, of {self.length} that the model takes."
        return f"The prompt is too long: {needed} tokens with {shown}{room}"

    def _frames_that_fit(self, text: Callable[[int], str], sizes: Sequence[Size], edge: int, answer: int) -> int:
        """The largest number of frames of which any choice fits, each taken to be as large as the largest."""
        costliest = max((self.frame_tokens(size, edge) for size in sizes), default=0)
        low, high = 0, len(sizes)
        while low < high:
            middle = (low + high + 1) // 2
            if self.tokens(text(middle)) + middle * (costliest - 1) + answer <= self.length:
                low = middle
            else:
                high = middle - 1
        return low


def _in_parts(fitting: int) -> str:
    return f"Set maxImagesPerPrompt to {fitting} or less to have it captioned in parts"
