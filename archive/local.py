"""A backfill on the engine in this process: the prompts of several files in flight at once."""

import heapq
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

import jsonschema

from archive.answer import new_views, warnings_of
from archive.files import FilesInFlight, Room
from archive.inputs import Job
from archive.plan import Given, Pass
from archive.records import Counts, Result
from archive.run import Live
from archive.work import Captioned, FileFailed, Progress, Stopped, do
from captioning.call import CaptioningFailed, TakesPrompts
from captioning.fetching import DiskFull
from captioning.parameters import Framing
from captioning.passes import Annotated
from engine.engine import Engine
from engine.errors import EngineError, PromptRefused
from engine.request import Completion, Request


class App(Protocol):
    """What is needed of :class:`app.SmolVLM2Captioner`."""

    engine: Engine

    def check_resolution(self, framing: Framing) -> None:
        """Refuse a resolution that the model does not have; needs the engine started."""

    def annotate_passes(
        self,
        mmif: str,
        asked: Mapping[str, Given],
        *,
        window: int,
        through: Callable[[TakesPrompts], TakesPrompts],
        report_progress: Progress,
    ) -> Annotated:
        """Caption one MMIF in several passes."""


class Slots:
    """
    How many prompts are in flight over all files. Thread-safe.

    The files that were begun first get free slots first, so that few are unfinished at any time.

    :param size: most prompts in flight
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, int]] = []
        self._arrivals = itertools.count()

    def acquire(self, count: int, order: int) -> None:
        """Wait for ``count`` slots; the lowest ``order`` goes first. More than there are go alone."""
        with self._changed:
            ticket = (order, next(self._arrivals), count)
            heapq.heappush(self._waiting, ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(count))
            heapq.heappop(self._waiting)
            self.held += count
            self._changed.notify_all()

    def release(self) -> None:
        """Give one slot back."""
        with self._changed:
            self.held -= 1
            self._changed.notify_all()

    def _fits(self, count: int) -> bool:
        return self.held + count <= self.size or not self.held


class _Tally:
    """What the engine has done since the start. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.prompts = 0
        self.captions = 0
        self.tokens = 0

    def add(self, completion: Completion | None) -> None:
        with self._lock:
            self.prompts += 1
            if completion is not None:
                self.captions += 1
                self.tokens += completion.prompt_tokens - completion.cached_tokens + completion.completion_tokens


class _SlottedCall:
    """The prompts of one file on their way through the slots into the engine."""

    def __init__(self, call: TakesPrompts, slots: Slots, order: int, tally: _Tally) -> None:
        self._call = call
        self._slots = slots
        self._order = order
        self._tally = tally

    @property
    def in_flight(self) -> int:
        return self._call.in_flight

    @property
    def generating(self) -> int:
        return self._call.generating

    def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
        self._slots.acquire(len(requests), self._order)
        futures = self._call.submit_in_turn(requests)
        for future in futures:
            future.add_done_callback(self._done)
        return futures

    def cancel(self) -> None:
        self._call.cancel()

    def _done(self, future: "Future[Completion]") -> None:
        self._slots.release()
        if future.cancelled():
            return
        if (error := future.exception()) is None:
            self._tally.add(future.result())
        elif isinstance(error, PromptRefused):
            self._tally.add(None)


class LocalRunner:
    """
    Captions on the engine of an app in this process. See :class:`archive.run.Runner`.

    :param app: its engine is started
    :param parallel: most prompts in flight over all files
    :param parameters: digest of what is asked, for the ledger
    :param worker: what it is called in the ledger
    """

    def __init__(self, app: App, passes: Sequence[Pass], parallel: int, parameters: str, worker: str = "local") -> None:
        self._app = app
        self._worker = worker
        self._asked = {asked.name: asked.parameters for asked in passes}
        self._parameters = parameters
        self._slots = Slots(parallel)
        self._tally = _Tally()
        self._order = itertools.count()
        # Half as many prompts again as may be in flight: by the time that these run out the next file is open.
        self._files = FilesInFlight(Room(files=parallel, prompts=parallel + max(2, parallel // 2)), self._do)

    def results(self, jobs: Iterable[Job], on_begin: Callable[[Job], None]) -> Iterator[Result]:
        """See :meth:`archive.run.Runner.results`."""
        return self._files.results(jobs, on_begin)

    def stop(self) -> None:
        """See :meth:`archive.run.Runner.stop`."""
        self._files.stop()

    def live(self) -> Live:
        """See :meth:`archive.run.Runner.live`."""
        tally, engine = self._tally, self._app.engine
        return Live(
            prompts=tally.prompts,
            captions=tally.captions,
            tokens=tally.tokens,
            in_flight=self._slots.held,
            capacity=self._slots.size,
            in_engine=engine.in_flight - engine.waiting,
            files=self._files.count,
        )

    def caption(self, mmif: str, progress: Progress) -> Captioned:
        """See :class:`archive.work.Captioner`."""
        order = next(self._order)
        try:
            annotated = self._app.annotate_passes(
                mmif,
                self._asked,
                window=self._slots.size,
                through=lambda call: _SlottedCall(call, self._slots, order, self._tally),
                report_progress=progress,
            )
        except CaptioningFailed as error:
            raise FileFailed("captions", str(error)) from error
        except DiskFull as error:
            raise Stopped(f"{error} Make room, and start the same command again.") from error
        except EngineError as error:
            raise Stopped(f"{error} Look at the log above, mend it, and start the same command again.") from error
        except jsonschema.ValidationError as error:
            raise FileFailed("mmif", f"This is not MMIF: {error.message}") from error
        except ValueError as error:  # of JSON, of what the app can't use
            raise FileFailed("mmif", str(error)) from error
        views = new_views(json.loads(mmif), json.loads(annotated.mmif))
        return Captioned(annotated.mmif, _counts(annotated), tuple(warnings_of(views)), self._worker)

    def _do(self, job: Job, progress: Progress) -> Result:
        return do(job, self, self._parameters, progress)


def _counts(annotated: Annotated) -> Counts:
    outcomes = annotated.outcomes.values()
    captions = [caption for outcome in outcomes for caption in outcome.captions]
    tasks = [task for outcome in outcomes for task in outcome.plan.tasks]
    return Counts(
        time_frames=len({task.time_frame for task in tasks}),
        prompts=len(tasks),
        captions=len(captions),
        frames=len({(caption.task.document, instant.ms) for caption in captions for instant in caption.instants}),
        prompt_tokens=sum(caption.completion.prompt_tokens for caption in captions),
        cached_tokens=sum(caption.completion.cached_tokens for caption in captions),
        completion_tokens=sum(caption.completion.completion_tokens for caption in captions),
    )
