"""
Which of several answers a model would give, and how likely each is.

An answer's probability is the product of its tokens', as far as the answer goes: that the model's reply begins with it,
whatever would follow. Where one answer continues another, the shorter one's is that the reply begins with it and not
with the longer one. So no two overlap, and their sum is the probability that the reply begins with any of them.

The model is asked of the places where answers part, and of those between: once of the start, which is all there is to
ask when every answer is one token, then of each beginning that is still likely enough to matter. The prompt before
these is in the prefix cache.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]
# Asked of a beginning and of tokens that may come next, returns their log-probabilities.
Ask = Callable[[Tokens, Sequence[int]], Awaitable[Mapping[int, float]]]

# A beginning so much less likely than the likeliest answer is not followed; what begins with it counts as impossible.
# Of 100 answers, at temperature 2, all these together would not have weighed a tenth of the likeliest one.
_NEGLIGIBLE = math.log(1e-6)


@dataclass(frozen=True)
class Odds:
    """
    How likely answers are.

    :param shares: of each answer, its part in the probability of all, 0 to 1
    :param total: the probability of all: that the model would give any of these answers of itself
    """

    shares: Mapping[str, float]
    total: float


@dataclass(frozen=True)
class Weights:
    """
    How likely answers are, so that no length of theirs makes it too little to reckon with.

    :param relative: of each answer, by the probability that a reply begins with the likeliest
    :param unit: the logarithm of that
    """

    relative: Sequence[float]
    unit: float

    def odds(self, answers: Sequence[str]) -> Odds:
        """Put the weights in relation to one another."""
        total = math.fsum(self.relative)
        shares = {answer: weight / total for answer, weight in zip(answers, self.relative)}
        return Odds(shares, min(1.0, total * math.exp(self.unit)))


async def weigh(answers: Sequence[Tokens], ask: Ask, *, all_of_them: bool) -> Weights:
    """
    Weigh answers.

    :param answers: different ones, of at least one token each
    :param all_of_them: otherwise only the likeliest is sure to be right, which takes fewer questions
    """
    following: dict[Tokens, set[int]] = {}
    for answer in answers:
        for place in range(len(answer)):
            following.setdefault(answer[:place], set()).add(answer[place])
    if any(answer in following for answer in answers):
        all_of_them = True  # what a shorter answer is worth, its continuations decide
    known: dict[Tokens, float] = {(): 0.0}
    open_ones: list[Tokens] = [()]
    best = -math.inf
    while open_ones:
        told = await asyncio.gather(*(ask(beginning, sorted(following[beginning])) for beginning in open_ones))
        reached = []
        for beginning, logprobs in zip(open_ones, told):
            for token in following[beginning]:
                known[*beginning, token] = known[beginning] + logprobs[token]
                reached.append((*beginning, token))
        best = max((known[answer] for answer in answers if answer in known), default=-math.inf)
        least = best + _NEGLIGIBLE if all_of_them else best
        open_ones = [beginning for beginning in reached if beginning in following and known[beginning] > least]
    relative = {answer: math.exp(known[answer] - best) for answer in answers if answer in known}
    return Weights([_without_longer(answer, answers, relative) for answer in answers], best)


def _without_longer(answer: Tokens, answers: Sequence[Tokens], relative: Mapping[Tokens, float]) -> float:
    longer = [other for other in answers if other in relative and other[: len(answer)] == answer and other != answer]
    next_longer = [one for one in longer if not any(one[: len(other)] == other and one != other for other in longer)]
    return max(0.0, relative.get(answer, 0.0) - math.fsum(relative[one] for one in next_longer))


def chosen(weights: Sequence[float], temperature: float, seed: int | None) -> int:
    """
    Return the number of the likeliest answer, or of one that is drawn.

    :param temperature: 0 for the likeliest; else answers are drawn with their probabilities to the power of its inverse
    :param seed: repeats what is drawn
    """
    best = max(range(len(weights)), key=weights.__getitem__)
    if temperature == 0:
        return best
    tempered = [(weight / weights[best]) ** (1 / temperature) for weight in weights]
    return random.Random(seed).choices(range(len(weights)), tempered)[0]
