"""Several files at once: each on a thread of its own, and the next begun before those in flight run out of prompts."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from archive.inputs import Job
from archive.records import Result
from archive.work import Progress

_OPENING = 2  # files being parsed at once; more would only share the interpreter


@dataclass(frozen=True)
class Room:
    """
    How many files may be in flight.

    :param files: at most so many
    :param prompts: another is begun while those in flight have fewer prompts left than this; 0: however many
    """

    files: int
    prompts: int = 0


@dataclass(frozen=True)
class _Ended:
    path: str
    outcome: Result | BaseException


class FilesInFlight:
    """
    Works through jobs, several at once.

    :param do: does one job, telling how far it is
    """

    def __init__(self, room: Room, do: Callable[[Job, Progress], Result]) -> None:
        self._room = room
        self._do = do
        self._left: dict[str, int | None] = {}  # prompts by path; None until they are known
        self._events: queue.SimpleQueue[_Ended | None] = queue.SimpleQueue()
        self._stopping = False
        self._on_begin: Callable[[Job], None]

    @property
    def count(self) -> int:
        """How many files are in flight."""
        return len(self._left)

    def stop(self) -> None:
        """Begin no further file. May be called by a signal handler."""
        self._stopping = True
        self._events.put(None)

    def results(self, jobs: Iterable[Job], on_begin: Callable[[Job], None] = lambda job: None) -> Iterator[Result]:
        """
        Yield what comes of jobs, as they end.

        :param on_begin: told of each job that is begun, on its thread
        :raises Exception: what ``do`` raised first, once no job is in flight
        """
        self._on_begin = on_begin
        waiting = iter(jobs)
        failure: BaseException | None = None
        while True:
            while not self._stopping and self._has_room():
                job = next(waiting, None)
                if job is None:
                    self._stopping = True
                else:
                    self._begin(job)
            if not self._left:
                break
            if (ended := self._events.get()) is None:
                continue
            del self._left[ended.path]
            if isinstance(ended.outcome, Result):
                yield ended.outcome
            else:
                failure = failure or ended.outcome
                self._stopping = True
        if failure is not None:
            raise failure

    def _has_room(self) -> bool:
        left = list(self._left.values())
        if len(left) >= self._room.files:
            return False
        known = [prompts for prompts in left if prompts is not None]
        return not self._room.prompts or (len(left) - len(known) < _OPENING and sum(known) < self._room.prompts)

    def _begin(self, job: Job) -> None:
        self._left[job.path] = None
        threading.Thread(target=self._run, args=[job], name=f"file-{job.path}", daemon=True).start()

    def _run(self, job: Job) -> None:
        def progress(done: int, of: int) -> None:
            self._left[job.path] = of - done
            self._events.put(None)

        outcome: Result | BaseException
        try:
            self._on_begin(job)
            outcome = self._do(job, progress)
        except BaseException as error:
            outcome = error
        self._events.put(_Ended(job.path, outcome))
