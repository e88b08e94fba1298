"""What one group of instants asks of a video, and which groups can be served by decoding once."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from sampling.source import Landing, Source

LONGEST_RUN_MS = 4000


@dataclass(eq=False)
class Request:
    """
    The instants of one group against the clock of one video.

    :param index: position of the group among all
    :param instants: milliseconds, in the order asked
    :param targets: (ticks, milliseconds) of each distinct instant, in time order
    :param landing: where the SDK's seek for this group comes down, once known
    """

    index: int
    instants: tuple[int, ...]
    targets: tuple[tuple[int, int], ...]
    landing: Landing | None = None

    @property
    def first(self) -> int:
        """Ticks of the earliest instant."""
        return self.targets[0][0]

    @property
    def last(self) -> int:
        """Ticks of the latest instant."""
        return self.targets[-1][0]

    def quick(self) -> bool:
        """Whether the nearest pictures can be told from timestamps alone: there is one at or before each instant."""
        landing = self.landing
        return landing is not None and landing.key and landing.pts is not None and landing.pts <= self.first


@dataclass
class Run:
    """
    Requests served together.

    :param quick: in one decoding from one key frame; otherwise each is read as the SDK would, from a file opened anew
    """

    requests: list[Request]
    quick: bool


@dataclass
class Plan:
    """
    The requests of one call that no reader has taken yet, in time order.

    A request may join a run if the pictures it asks for are the same there as after a seek of its own: because that
    seek comes down where the run starts, or on a closed key frame within the run.

    :param longest: ticks after whose lapse a run goes on to no further key frame for requests that only begin after
        the others end; it leaves work for other readers
    :param failed: runs in which the quick way gave up; after a few in vain it is not tried again
    """

    pending: list[Request]
    quick: bool
    longest: int
    failed: int = 0
    succeeded: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]], source: Source) -> "Plan":
        """The plan for all groups that ask for anything."""
        requests = [
            Request(index, tuple(instants), tuple((source.ticks(ms), ms) for ms in sorted(set(instants))))
            for index, instants in enumerate(groups)
            if len(instants)
        ]
        requests.sort(key=lambda request: (request.first, request.index))
        return cls(requests, source.repeatable, source.ticks(LONGEST_RUN_MS))

    def take(self, source: Source) -> Run | None:
        """
        The next requests to serve; ``None`` if all are taken. Moves the source's read position.
        """
        with self.lock:
            if not self.pending:
                return None
            first = self.pending.pop(0)
            if not self._quick(first, source):
                return Run([first], quick=False)
            run, end, rest = Run([first], quick=True), first.last, 0
            while rest < len(self.pending):
                request = self.pending[rest]
                overlaps = request.first <= end
                if self._quick(request, source) and self._joins(request, run, end):
                    run.requests.append(self.pending.pop(rest))
                    end = max(end, request.last)
                elif overlaps:
                    rest += 1
                else:
                    break
            return run

    def put_back(self, requests: Sequence[Request]) -> None:
        """Have requests served by a later run."""
        with self.lock:
            self.pending = sorted([*self.pending, *requests], key=lambda request: (request.first, request.index))

    def learn(self, success: bool) -> None:
        """Note whether a quick run went through; where few do, trying costs more than it saves."""
        with self.lock:
            self.succeeded += success
            self.failed += not success
            if self.failed >= 4 and self.failed > self.succeeded:
                self.quick = False

    def _joins(self, request: Request, run: Run, end: int) -> bool:
        """Whether a request gets its own pictures in a run that decodes up to `end`, and is no burden to it."""
        start, latest, landing = run.requests[0].landing, run.requests[-1].landing, request.landing
        assert start is not None and start.pts is not None and landing is not None and landing.pts is not None
        if landing == start:
            return True
        if not landing.closed or landing.pts > end:
            return False
        return request.first <= end or landing == latest or landing.pts - start.pts <= self.longest

    def _quick(self, request: Request, source: Source) -> bool:
        if not self.quick:
            return False
        if request.landing is None:
            request.landing = source.land(request.first)
        return request.quick()
