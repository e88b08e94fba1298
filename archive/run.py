"""One start of a backfill: files go to whoever captions them, what comes of them goes into the ledger."""

import contextlib
import itertools
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Protocol

from archive.choice import Choice
from archive.inputs import Job
from archive.ledger import Ledger
from archive.records import Outcome, Result
from archive.work import Stopped

_TICK_SECONDS = 1.0
_BEAT_TICKS = 5


@dataclass(frozen=True)
class Live:
    """
    What whoever captions is doing.

    :param prompts: answered since the start, with a caption or without
    :param captions: since the start
    :param tokens: read and written since the start, those that were computed before left out; ``None`` if unknown
    :param in_flight: prompts, or calls to servers
    :param capacity: how many of these there may be
    :param in_engine: how many of them the engine is computing; ``None`` if unknown
    :param files: in flight
    """

    prompts: int = 0
    captions: int = 0
    tokens: int | None = None
    in_flight: int = 0
    capacity: int = 0
    in_engine: int | None = None
    files: int = 0


class Runner(Protocol):
    """Who captions: the engine in this process, servers, or a cluster."""

    def results(self, jobs: Iterable[Job], on_begin: Callable[[Job], None]) -> Iterator[Result]:
        """
        Do jobs, several at once, and yield what comes of each.

        :param on_begin: told of each that is begun, on any thread
        :raises Stopped: if nothing can be done any more, once no job is in flight
        """

    def stop(self) -> None:
        """Begin no further job. May be called by a signal handler."""

    def live(self) -> Live:
        """Say how it gets on."""


@dataclass
class Progress:
    """How far a run is; written by its main thread, read by the display."""

    total: int
    bytes_total: int
    done: int = 0
    failed: int = 0
    warnings: int = 0
    bytes_done: int = 0
    began: float = 0.0  # by time.monotonic()
    busy: float = 0.0  # s in which prompts were in flight
    stopping: bool = False
    reason: str = ""  # why it stopped before the end

    @property
    def left(self) -> int:
        """Files that are neither done nor failed."""
        return self.total - self.done - self.failed

    @property
    def seconds(self) -> float:
        """Since the start; 0 before it."""
        return time.monotonic() - self.began if self.began else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds to the end, if the bytes left take as long as those done; ``None`` if nothing is done yet."""
        if not self.bytes_done:
            return None
        return self.seconds * (self.bytes_total - self.bytes_done) / self.bytes_done


class Display(Protocol):
    """Who is shown what happens."""

    def show(self, progress: Progress, live: Live) -> None:
        """Called every second."""

    def failed(self, result: Result) -> None:
        """Called with each file that failed."""

    def say(self, text: str) -> None:
        """Something the operator is to know."""


class StopNow(BaseException):
    """The second signal."""


def run(choice: Choice, ledger: Ledger, number: int, runner: Runner, display: Display, progress: Progress) -> Outcome:
    """
    Work through what is chosen.

    :param number: of the run in the ledger
    :param progress: is kept up to date
    :returns: how it ended; ``stopped`` if there is nobody or no room left to go on
    """
    progress.began = time.monotonic()
    with _signals(runner, progress), _ticking(ledger, number, runner, progress, display):
        try:
            for result in runner.results(choice.jobs, lambda job: ledger.begin(job.path)):
                ledger.finish(result)
                _note(result, choice, progress, display)
        except Stopped as stopped:
            progress.reason = str(stopped)
            with contextlib.suppress(sqlite3.Error):  # the disk is full; the next run sees to it
                for record in list(ledger.records("running", run=number)):
                    ledger.put_back(record.path, progress.reason)
            return "stopped"
        except sqlite3.OperationalError as error:
            progress.reason = f"{ledger.file} can't be written: {error}. Make room, and start the same command again."
            return "stopped"
        except StopNow:
            return "interrupted"
    if progress.left:
        return "interrupted"
    return "incomplete" if progress.failed or choice.failed else "complete"


def _note(result: Result, choice: Choice, progress: Progress, display: Display) -> None:
    progress.bytes_done += choice.sizes[result.path]
    progress.warnings += len(result.warnings)
    if result.cause:
        progress.failed += 1
        display.failed(result)
    else:
        progress.done += 1


@contextlib.contextmanager
def _signals(runner: Runner, progress: Progress) -> Iterator[None]:
    """Let the first signal end the run when what is in flight is done, and the second at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if progress.stopping:
            raise StopNow
        progress.stopping = True  # the display says it: printing is no business of a signal handler
        runner.stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ticking(ledger: Ledger, number: int, runner: Runner, progress: Progress, display: Display) -> Iterator[None]:
    """Keep the display, and what the ledger says of the run, up to date."""
    ended = threading.Event()

    def beat() -> None:
        live = runner.live()
        shown = {**asdict(progress), "eta": progress.eta, **asdict(live)}
        with contextlib.suppress(sqlite3.Error):  # said where a result can't be noted
            ledger.beat(number, live.prompts, progress.busy, shown)

    def tick() -> None:
        said, before = False, time.monotonic()
        for ticks in itertools.count():
            live, now = runner.live(), time.monotonic()
            progress.busy += now - before if live.in_flight else 0.0
            before = now
            display.show(progress, live)
            if progress.stopping and not said:
                said = True
                display.say(f"Finishing the {live.files} file(s) in flight; the same signal again stops at once.")
            if ticks % _BEAT_TICKS == 0:
                beat()
            if ended.wait(_TICK_SECONDS):
                return

    thread = threading.Thread(target=tick, name="display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        beat()
