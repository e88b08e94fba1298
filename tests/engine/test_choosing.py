"""Which answer is chosen, against all that a small language could say."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.choosing import Weights, chosen, weigh

VOCABULARY = 4


class Language:
    """A model of four tokens whose every next one depends on all before it."""

    def __init__(self, seed: int, sharpness: float = 3.0) -> None:
        self._seed = seed
        self._sharpness = sharpness
        self.asked: list[tuple[int, ...]] = []

    def logprobs(self, beginning: tuple[int, ...]) -> list[float]:
        draw = random.Random(repr((self._seed, beginning)))
        logits = [draw.gauss(0, self._sharpness) for _ in range(VOCABULARY)]
        norm = math.log(sum(map(math.exp, logits)))
        return [logit - norm for logit in logits]

    async def ask(self, beginning: tuple[int, ...], following: Sequence[int]) -> dict[int, float]:
        assert beginning not in self.asked  # one question for each place
        self.asked.append(beginning)
        return {token: self.logprobs(beginning)[token] for token in following}

    def texts(self, length: int) -> dict[tuple[int, ...], float]:
        """Every text of a length with its probability."""
        found = {(): 1.0}
        for _ in range(length):
            found = {
                (*text, token): probability * math.exp(logprob)
                for text, probability in found.items()
                for token, logprob in enumerate(self.logprobs(text))
            }
        return found


answers_of = st.lists(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=4).map(tuple), min_size=2, max_size=7, unique=True
)


@given(st.integers(0, 1000), answers_of)
def test_each_is_as_likely_as_the_texts_of_which_it_is_the_longest_beginning(
    seed: int, answers: list[tuple[int, ...]]
) -> None:
    language = Language(seed, sharpness=1.0)  # so that none is too unlikely to be looked at
    expected = dict.fromkeys(answers, 0.0)
    for text, probability in language.texts(4).items():
        longest = max((answer for answer in answers if text[: len(answer)] == answer), key=len, default=None)
        if longest is not None:
            expected[longest] += probability
    found = asyncio.run(weigh(answers, language.ask, all_of_them=True))
    probabilities = [weight * math.exp(found.unit) for weight in found.relative]
    assert probabilities == pytest.approx([expected[answer] for answer in answers], abs=2e-6)


@given(st.integers(0, 1000), answers_of)
def test_the_likeliest_is_found_with_no_more_questions(seed: int, answers: list[tuple[int, ...]]) -> None:
    thorough, quick = Language(seed), Language(seed)
    every = asyncio.run(weigh(answers, thorough.ask, all_of_them=True))
    some = asyncio.run(weigh(answers, quick.ask, all_of_them=False))
    assert chosen(some.relative, 0, None) == chosen(every.relative, 0, None)
    assert set(quick.asked) <= set(thorough.asked)


def test_answers_of_one_token_take_one_question() -> None:
    language = Language(1)
    asyncio.run(weigh([(0,), (1,), (3,)], language.ask, all_of_them=True))
    assert language.asked == [()]


def test_shares_are_of_all_answers_together() -> None:
    found = Weights([1.0, 1 / 3], math.log(0.3)).odds(["a", "b"])
    assert found.shares == pytest.approx({"a": 0.75, "b": 0.25})
    assert found.total == pytest.approx(0.4)


def test_answers_so_long_that_none_is_likely_are_told_apart_all_the_same() -> None:
    async def ask(beginning: tuple[int, ...], following: Sequence[int]) -> dict[int, float]:
        return {token: -30.0 if token else -30.1 for token in following}

    found = asyncio.run(weigh([(0,) * 50, (1,) * 50], ask, all_of_them=True)).odds(["a", "b"])
    assert found.shares["b"] == pytest.approx(1 / (1 + math.exp(-5)), abs=1e-6)
    assert found.total == 0  # to all the digits that there are


def test_drawing_follows_the_probabilities_and_the_temperature() -> None:
    drawn = Counter(chosen([0.08, 0.01, 0.01], 1.0, seed) for seed in range(2000))
    assert drawn[0] == pytest.approx(1600, abs=80)
    flatter = Counter(chosen([0.09, 0.01], 2.0, seed) for seed in range(2000))
    assert flatter[0] == pytest.approx(1500, abs=80)
    assert chosen([0.5, 0.5], 1.0, 7) == chosen([0.5, 0.5], 1.0, 7)
    assert chosen([0.1, 0.6, 0.3], 0, 7) == 1
