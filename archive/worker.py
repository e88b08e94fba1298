"""One worker of a cluster's pool, and the desk between the workers and the driver: see :mod:`archive.cluster`."""

import dataclasses
import itertools
import os
import pickle
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import ray

from archive.inputs import Job
from archive.ledger import FOLDER
from archive.local import App, LocalRunner
from archive.plan import Pass
from archive.records import Result
from archive.run import Live
from archive.work import Stopped, do
from captioning.parameters import Parameters
from engine.errors import EngineError

NEWS_SECONDS = 0.5  # between two reports of a worker, and two questions of the driver


class Desk:
    """Between the driver and the workers: what is begun, how the workers get on, and whether to begin anything."""

    def __init__(self) -> None:
        self._begun: list[str] = []
        self._tries: Counter[str] = Counter()
        self._live: dict[str, tuple[float, Live]] = {}
        self._stopping = False

    def begin(self, path: str, tries: int) -> Literal["begin", "leave", "stop"]:
        """Note that a file is begun, and say so; or that it is to be left, after so many tries, or as all is to end."""
        if self._stopping:
            return "stop"
        if self._tries[path] == tries:
            return "leave"
        self._tries[path] += 1
        self._begun.append(path)
        return "begin"

    def report(self, worker: str, live: Live) -> None:
        """Note how a worker gets on."""
        self._live[worker] = (time.monotonic(), live)

    def news(self, stopping: bool) -> tuple[list[str], list[tuple[float, Live]]]:
        """Return what was begun since the last time, and each worker's last report with its age in seconds."""
        self._stopping = stopping
        begun, self._begun = self._begun, []
        now = time.monotonic()
        return begun, [(now - heard, live) for heard, live in self._live.values()]


class Worker:
    """One actor of the pool: an engine, and the files that Ray hands it, each on one of the actor's threads."""

    def __init__(
        self,
        make_app: Callable[[], App],
        passes: Sequence[Pass],
        output: str,
        parallel: int,
        parameters: str,
        desk: Any,
        tries: int,
    ) -> None:
        self._parameters = parameters
        self._desk = desk
        self._tries = tries
        self._files = itertools.count()
        self._in_flight: set[int] = set()
        self._name = f"ray {socket.gethostname()} {os.getpid()}"
        self._failure = ""
        self._app = app = make_app()
        # Without it the folders of the outputs would be made on this machine's own disk. A link may lead nowhere here:
        # the ledger is for the driver alone.
        if not os.path.lexists(f"{output}/{FOLDER}"):
            self._failure = (
                f"{self._name}: {output} is not there, or not the folder that the command was given. Every machine has "
                "to have OUTPUT mounted, at the same path; mount it there, and start the same command again."
            )
            return
        try:
            app.engine.start()
            for asked in passes:
                app.check_resolution(Parameters.of(asked.refined).framing)
        except (EngineError, ValueError) as error:
            self._failure = f"{self._name}: {error}"
            return
        self._runner = LocalRunner(app, passes, parallel, parameters, worker=self._name)
        threading.Thread(target=_keep_reporting, args=[weakref.ref(self)], name="report", daemon=True).start()

    def __del__(self) -> None:
        """
        Called when Ray ends a worker that is not needed any more. What its engine consists of would be killed next, and
        the engine would take that for its death.
        """
        self._app.engine.close()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do one file. The answer has what came of it, or why nothing can be done any more, or neither."""
        job: Job = pickle.loads(row["job"])
        if self._failure:
            return _answer(job, failure=self._failure)
        if (told := ray.get(self._desk.begin.remote(job.path, self._tries))) != "begin":
            return _answer(job, left=told == "leave")
        number = next(self._files)
        self._in_flight.add(number)
        try:
            return _answer(job, do(job, self._runner, self._parameters, lambda done, of: None))
        except Stopped as stopped:
            return _answer(job, failure=str(stopped))
        finally:
            self._in_flight.discard(number)

    def report(self) -> None:
        """Tell the desk how it gets on."""
        self._desk.report.remote(self._name, dataclasses.replace(self._runner.live(), files=len(self._in_flight)))


def _keep_reporting(worker: "weakref.ref[Worker]") -> None:
    while (there := worker()) is not None:
        there.report()
        del there
        time.sleep(NEWS_SECONDS)


def _answer(job: Job, result: Result | None = None, *, failure: str = "", left: bool = False) -> dict[str, Any]:
    return {"path": job.path, "result": pickle.dumps(result), "failure": failure, "left": left}
