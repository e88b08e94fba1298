"""
Which prompt goes to vLLM next, when several calls want it to be theirs.

vLLM prepares prompts (resizing frames, counting tokens) one at a time in order of arrival, blind to priority. So only a
window of prompts is handed to it, and the others wait here, where their order can still change:

1. prompts that were in the engine when it died, and those that follow one over the same frames: while that one is in
   vLLM the KV of their frames is there to be reused, and only then for sure,
2. the prompts of calls, fairly,
3. the prompts of background calls, fairly among themselves; but one of them goes after every ``BACKGROUND_SHARE`` of
   the second kind, so that they never stand still.

Fair is start-time fair queueing (Goyal, Vin and Cheng 1996), with a prompt as the unit. A call has a level; taking one
of its prompts raises it by one. The lowest level goes first, and the earliest prompt where levels are equal. So a
call's n-th prompt waits behind the others' n-th, however many they have. A call that had nothing waiting joins at the
clock, not at its old level and not at 0, so that it saves up nothing while it asks for nothing, and a backfill of hours
doesn't pay for its past. With every prompt taken the clock moves by the part of a level that each of the waiting calls
had a right to, and never lags behind the lowest of them (as in WF2Q+, Bennett and Zhang 1997). Were it to stand at the
level of the prompt taken last, a stream of new calls of one prompt each could keep all others waiting for ever.

The level is also the prompt's priority in vLLM's own scheduler, where a background prompt is ``BACKGROUND_SHARE``
levels behind the clock, not behind everything: there, too, it gets on.

Everything that is in vLLM makes its steps longer. So while there is a call that is not in the background, only a few of
the background's are let in beside it, on CPU none but those that are due; those that are in it already pause
(:mod:`engine.scheduling`). One is due after every ``BACKGROUND_SHARE`` others, and when none went for a while.
"""

import heapq
import itertools
import math
from collections import OrderedDict, deque
from typing import Generic, NamedTuple, TypeVar

BACKGROUND_SHARE = 16

Prompt = TypeVar("Prompt")


class Lane(Generic[Prompt]):
    """The prompts of one call that wait, in order of arrival. Nothing for others than :class:`Window` to change."""

    def __init__(self, background: bool = False) -> None:
        self.background = background
        self.level = 0.0
        self.waiting: OrderedDict[Prompt, int] = OrderedDict()  # to the number of its arrival

    @property
    def turn(self) -> tuple[float, int]:
        """What decides between lanes; the lowest goes first."""
        return self.level, next(iter(self.waiting.values()))


class Admission(NamedTuple, Generic[Prompt]):
    """A prompt that is to be prepared now, and its priority in vLLM's scheduler (lower goes first)."""

    prompt: Prompt
    priority: int


class Window(Generic[Prompt]):
    """
    The order of prompts, and how many of them may be where. For one thread; prompts have to be hashable.

    :param size: prompts in the engine at once, those being prepared included
    :param preparing: prompts being prepared at once
    :param held: bytes that the prompts in the engine may hold, prepared; one that needs more goes in alone
    :param beside: background prompts that are let into the engine while there are others; with 0, one when it is due
    """

    def __init__(self, size: int, preparing: int, held: float = math.inf, beside: float = math.inf) -> None:
        self.size = size
        self.preparing_size = preparing
        self.held_limit = held
        self.beside = beside
        self.others = False  # whether calls are there that go before the background, also if they have no prompts yet
        self.held = 0  # bytes
        self._bytes: dict[Prompt, int] = {}  # of every prompt that is known
        self._background: set[Prompt] = set()  # those of them that are the background's
        self._lanes: list[Lane[Prompt]] = []  # those in which something waits
        self._lane_of: dict[Prompt, Lane[Prompt]] = {}
        self._first: list[tuple[int, int, Prompt]] = []
        self._alone: deque[Prompt] = deque()
        self._further: list[tuple[int, int, Prompt]] = []  # in the engine, but to be prepared once more
        self._preparing: set[Prompt] = set()
        self._admitted: dict[Prompt, int] = {}  # to its priority
        self._isolated: Prompt | None = None
        self._clocks = {False: 0.0, True: 0.0}  # by whether it is the background's
        self._passed_over = 0  # prompts taken in a row while a background prompt waited
        self._due = False  # a background prompt, whoever is there
        self._arrivals = itertools.count()

    @property
    def admitted(self) -> list[Prompt]:
        """The prompts in the engine, in the order in which they went there."""
        return list(self._admitted)

    @property
    def preparing(self) -> int:
        """How many prompts are being prepared."""
        return len(self._preparing)

    @property
    def waiting(self) -> int:
        """How many prompts are not in the engine."""
        return len(self._lane_of) + len(self._first) + len(self._alone)

    def put(self, prompt: Prompt, lane: Lane[Prompt], held: int = 0) -> None:
        """
        Let a prompt wait at the end of its lane.

        :param held: bytes that it will hold in the engine
        """
        self._know(prompt, lane, held)
        if not lane.waiting:
            rivals = [rival.level for rival in self._lanes if rival.background == lane.background]
            clock = max(self._clocks[lane.background], min(rivals, default=0.0))
            self._clocks[lane.background] = clock
            lane.level = max(lane.level, clock)
            self._lanes.append(lane)
        lane.waiting[prompt] = next(self._arrivals)
        self._lane_of[prompt] = lane

    def put_back(self, prompt: Prompt, *, alone: bool = False) -> None:
        """
        Let a prompt that is in the engine wait again, in front of all that haven't been there.

        :param alone: nothing else may be in the engine with it, and until it has left all others wait
        """
        priority = self._admitted[prompt]
        self._take_out(prompt)
        if alone:
            self._alone.append(prompt)
        else:
            heapq.heappush(self._first, (priority, next(self._arrivals), prompt))

    def follow(self, prompt: Prompt, priority: int, lane: Lane[Prompt], held: int = 0) -> None:
        """
        Let a prompt wait in front of all lanes, as one of its lane with this priority has read its frames.

        :param held: bytes that it will hold in the engine
        """
        self._know(prompt, lane, held)
        lane.level += 1  # it is one of its call's prompts all the same
        heapq.heappush(self._first, (priority, next(self._arrivals), prompt))

    def owe(self) -> None:
        """Let one prompt of the background in beside others, if none is there."""
        self._due = True

    def prepare_again(self, prompt: Prompt) -> None:
        """Let a prompt that stays in the engine wait until it may be prepared once more."""
        heapq.heappush(self._further, (self._admitted[prompt], next(self._arrivals), prompt))

    def prepared(self, prompt: Prompt) -> None:
        """Note that a prompt is prepared, which makes room for another to be."""
        self._preparing.discard(prompt)

    def leave(self, prompt: Prompt) -> None:
        """Forget a prompt, wherever it is."""
        self._take_out(prompt)
        self._bytes.pop(prompt, None)
        self._background.discard(prompt)

    def _know(self, prompt: Prompt, lane: Lane[Prompt], held: int) -> None:
        self._bytes[prompt] = held
        if lane.background:
            self._background.add(prompt)

    def _take_out(self, prompt: Prompt) -> None:
        if lane := self._lane_of.pop(prompt, None):
            del lane.waiting[prompt]
            if not lane.waiting:
                self._lanes.remove(lane)
        if prompt in self._alone:
            self._alone.remove(prompt)
        self._first = _without(prompt, self._first)
        self._further = _without(prompt, self._further)
        self._preparing.discard(prompt)
        if self._admitted.pop(prompt, None) is not None:
            self.held -= self._bytes[prompt]
        if self._isolated is prompt:
            self._isolated = None

    def take(self) -> Admission[Prompt] | None:
        """Return the prompt to prepare now, or ``None`` if there is none or no room for it."""
        if len(self._preparing) >= self.preparing_size:
            return None
        admission = self._next()
        if admission:
            self._preparing.add(admission.prompt)
            if admission.prompt not in self._admitted:
                self.held += self._bytes[admission.prompt]
                if admission.prompt in self._background:
                    self._due, self._passed_over = False, 0
            self._admitted[admission.prompt] = admission.priority
        return admission

    def _next(self) -> Admission[Prompt] | None:
        if self._further:
            priority, _, prompt = heapq.heappop(self._further)
            return Admission(prompt, priority)
        if self._isolated is not None or (self._alone and self._admitted):
            return None
        if self._alone:
            self._isolated = self._alone.popleft()
            return Admission(self._isolated, int(self._clocks[False]))
        if len(self._admitted) >= self.size:
            return None
        crowded = self._crowded
        for priority, _, prompt in sorted(self._first, key=lambda entry: entry[:2]):
            if not (crowded and prompt in self._background):
                if not self._fits(prompt):
                    return None
                self._first = _without(prompt, self._first)
                return Admission(prompt, priority)
        return self._next_of_lanes(crowded)

    @property
    def _crowded(self) -> bool:
        """Whether there are as many background prompts in the engine as may be beside others that there are."""
        if not self.others and len(self._bytes) == len(self._background):
            return False
        may_be = max(self.beside, int(self._due or self._passed_over >= BACKGROUND_SHARE))
        return sum(prompt in self._background for prompt in self._admitted) >= may_be

    def _next_of_lanes(self, crowded: bool) -> Admission[Prompt] | None:
        usual = [lane for lane in self._lanes if not lane.background]
        background = [lane for lane in self._lanes if lane.background]
        may_go = background if not crowded else []
        its_share = bool(may_go) and self._passed_over >= BACKGROUND_SHARE
        rivals = may_go if its_share or not usual else usual
        if not rivals:
            return None
        lane = min(rivals, key=lambda lane: lane.turn)
        prompt = next(iter(lane.waiting))
        if not self._fits(prompt):
            return None  # nobody overtakes it: were smaller ones to, a large one might wait for ever
        self._passed_over = self._passed_over + 1 if background and not lane.background else 0
        priority = self._clocks[False] + BACKGROUND_SHARE * (not its_share) if lane.background else lane.level
        self._clocks[lane.background] += 1 / len(rivals)
        lane.level += 1
        self._take_out(prompt)
        return Admission(prompt, int(priority))

    def _fits(self, prompt: Prompt) -> bool:
        return not self._admitted or self.held + self._bytes[prompt] <= self.held_limit


def _without(prompt: Prompt, heap: list[tuple[int, int, Prompt]]) -> list[tuple[int, int, Prompt]]:
    if not any(entry[2] is prompt for entry in heap):
        return heap
    kept = [entry for entry in heap if entry[2] is not prompt]
    heapq.heapify(kept)
    return kept
