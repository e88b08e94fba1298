"""
A backfill on a Ray cluster: Ray Data hands the files to a pool of actors, each with an engine of its own.

1. The driver, which is the command itself, makes a dataset of the files, one a block, and maps it over the pool. Ray
   starts and ends actors between the bounds it is given, replaces those that die, and hands their files out again.
2. An actor has several files in flight, each on a thread of its own, and bounds their prompts as a backfill on one
   engine does. It writes the output where the driver would, on storage that all share, and returns a result.
3. The driver alone writes the ledger. Outputs appear whole under their name, so that a file that is done twice, since
   its actor died after the first time, is there once.
4. What the driver has to know meanwhile, and the other way round, goes through the desk, an actor beside the driver.
"""

import logging
import math
import os
import pickle
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.exceptions
from ray.data import ActorPoolStrategy
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from archive.folders import printable
from archive.inputs import InputError, Job
from archive.local import App
from archive.plan import Pass
from archive.records import Result
from archive.run import Live
from archive.work import FileFailed, Stopped, stamp_of
from archive.worker import NEWS_SECONDS, Desk, Worker

logger = logging.getLogger(__name__)

LOCAL = "local"  # the address of a cluster that is made for this run, of this machine
# How the names of Ray Data's threads begin that hand out files and fetch answers.
THREADS = ("StreamingExecutor-", "ray-data-", "iter_threaded")
_ROOT = Path(__file__).parent.parent
_STORE_BYTES = 256 * 1024**2  # of a local cluster's object store: what goes through it are paths and results
_SILENT_SECONDS = 10.0  # after which a worker is taken to be gone
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 30.0
_TRIES = 3  # of a file whose workers end under it; then it is tried as often by workers that do nothing else


class ClusterError(InputError):
    """The cluster can't be used. Seen by the operator, before anything starts."""


@dataclass(frozen=True)
class Pool:
    """
    The actors.

    :param least: how many there are at any time
    :param most: at most so many; ``None``: as many as there is room for
    :param cpus: of each, where the cluster has no GPU
    :param gpus: of each, where it has
    :param parallel: most prompts in flight in each
    """

    least: int
    most: int | None
    cpus: int
    gpus: int
    parallel: int


class RayRunner:
    """
    Captions on a Ray cluster. See :class:`archive.run.Runner`; to be closed.

    :param address: of the cluster, as Ray takes it; :data:`LOCAL` for one of this machine
    :param make_app: makes a worker's app, its engine not started
    :param output: the output folder, absolute; the ledger's is in it
    :param parameters: digest of what is asked, for the ledger
    :param environment: variables that the workers are to have
    :raises ClusterError: if there is no such cluster, or it has no room for the pool
    """

    def __init__(
        self,
        address: str,
        make_app: Callable[[], App],
        passes: Sequence[Pass],
        output: Path,
        pool: Pool,
        parameters: str,
        environment: Mapping[str, str],
    ) -> None:
        self._make_app = make_app
        self._passes = passes
        self._output = output
        self._pool = pool
        self._parameters = parameters
        self._stopping = False
        self._news = threading.Lock()
        self._begun: set[str] = set()  # and not ended
        self._ended: set[str] = set()
        self._reports: list[tuple[float, Live]] = []
        _join(address, environment)
        try:
            self._cpus, self._gpus, self._room = _resources(address, pool)
            self._engines = self._room if address == LOCAL else pool.most or self._room
            beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            self._desk = ray.remote(num_cpus=0, max_concurrency=1)(Desk).options(scheduling_strategy=beside).remote()
        except BaseException:
            ray.shutdown()
            raise

    def close(self) -> None:
        """Leave the cluster: its workers end, whatever they do, and so does it if it was made for this run."""
        # Those of a run that was broken off are told to end, and some not waited for. If one then called Ray, which is
        # not there any more, Ray would end this whole process.
        for thread in threading.enumerate():
            if thread.name.startswith(THREADS):
                thread.join(_CLOSE_SECONDS)
        ray.shutdown()

    def stop(self) -> None:
        """See :meth:`archive.run.Runner.stop`."""
        self._stopping = True  # the desk is told with the next news: a signal handler should not call Ray

    def live(self) -> Live:
        """See :meth:`archive.run.Runner.live`."""
        every = [live for _, live in self._reports]
        there = [live for age, live in self._reports if age < _SILENT_SECONDS]
        return Live(
            prompts=sum(live.prompts for live in every),
            captions=sum(live.captions for live in every),
            tokens=sum(live.tokens or 0 for live in every),
            in_flight=sum(live.in_flight for live in there),
            capacity=sum(live.capacity for live in there),
            in_engine=sum(live.in_engine or 0 for live in there),
            files=len(self._begun),
        )

    def results(self, jobs: Iterable[Job], on_begin: Callable[[Job], None]) -> Iterator[Result]:
        """See :meth:`archive.run.Runner.results`."""
        asked = {job.path: job for job in jobs}
        left = dict(asked)
        ended = threading.Event()
        listener = threading.Thread(target=self._listen, args=[ended, asked, on_begin], name="news", daemon=True)
        listener.start()
        try:
            shared_out = max(1, min(self._pool.parallel, math.ceil(len(left) / self._engines)))
            yield from self._answers(left, shared_out, _TRIES, asked, on_begin)
            if left and not self._stopping:
                # One of these may be what workers die of, and the others may only have been beside it.
                logger.warning("%d file(s) lost their workers again and again; each is tried alone.", len(left))
                yield from self._answers(left, 1, 2 * _TRIES, asked, on_begin)
            if not self._stopping:
                yield from (self._given_up(job) for job in left.values())
        except ray.exceptions.RayError as error:
            raise Stopped(f"The cluster can't go on: {error}") from error
        finally:
            ended.set()
            listener.join()

    def _answers(
        self, left: dict[str, Job], at_once: int, tries: int, asked: Mapping[str, Job], on_begin: Callable[[Job], None]
    ) -> Iterator[Result]:
        """
        Yield what comes of files, and take them out of ``left``; one stays there if its workers ended under it.

        :raises Stopped: if nothing can be done any more, once no file is in flight
        """
        failure = ""
        for row in self._rows(list(left.values()), at_once, tries):
            result: Result | None = pickle.loads(row["result"])
            if result is not None:
                self._hear(asked, on_begin)  # that it was begun comes before what came of it
            self._begun.discard(row["path"])
            if not row["left"]:
                del left[row["path"]]
                self._ended.add(row["path"])
            if row["failure"]:
                failure, self._stopping = failure or row["failure"], True
            elif result is not None:
                yield result
            if self._stopping and not self._begun:
                break
        if failure:
            raise Stopped(failure)

    def _rows(self, jobs: Sequence[Job], at_once: int, tries: int) -> Iterator[dict[str, Any]]:
        """Hand files to the pool, so many at a time to each worker, and yield the answers."""
        rows = [{"path": job.path, "job": pickle.dumps(job)} for job in jobs]  # a name may be other than UTF-8
        # A file a block, and so a file a task: what is done is known at once, and only what is not is done again.
        files = ray.data.from_items(rows, override_num_blocks=len(rows))
        answers = files.map(
            Worker,
            fn_constructor_args=(
                self._make_app,
                self._passes,
                str(self._output),
                self._pool.parallel,
                self._parameters,
                self._desk,
                tries,
            ),
            compute=ActorPoolStrategy(
                min_size=min(self._pool.least, len(rows)),
                max_size=self._pool.most,
                # All that are needed and fit: one that grows when its first are full does so an engine's start later.
                initial_size=min(max(self._pool.least, min(self._room, math.ceil(len(rows) / at_once))), len(rows)),
                max_tasks_in_flight_per_actor=at_once,
                max_concurrent_calls_per_actor=at_once,
                enable_true_multi_threading=True,
            ),
            num_cpus=self._cpus,
            num_gpus=self._gpus,
        )
        for batch in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from batch.to_pylist()

    def _listen(self, ended: threading.Event, jobs: Mapping[str, Job], on_begin: Callable[[Job], None]) -> None:
        while not ended.wait(NEWS_SECONDS):
            try:
                self._hear(jobs, on_begin)
            except (ray.exceptions.RayError, sqlite3.Error):  # whoever takes the results meets with the same
                logger.exception("What the workers begin can't be noted any more.")
                return

    def _hear(self, jobs: Mapping[str, Job], on_begin: Callable[[Job], None]) -> None:
        with self._news:
            begun, self._reports = ray.get(self._desk.news.remote(self._stopping))
            for path in begun:
                if path not in self._ended:  # by a worker that was taken to be dead
                    on_begin(jobs[path])
                    self._begun.add(path)

    def _given_up(self, job: Job) -> Result:
        name = printable(job.source)
        said = f"Every worker that had {name} in hand ended unexpectedly, at last with nothing else in hand."
        try:
            stamp = stamp_of(job)
        except FileFailed:
            stamp = None
        return Result(job.path, self._parameters, 0.0, stamp, cause="engine", error=said)


def _join(address: str, environment: Mapping[str, str]) -> None:
    _see_whether_it_is_there(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    python_path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH")) if part)
    wanted: dict[str, Any] = {"address": address, "logging_level": logging.WARNING}
    wanted["runtime_env"] = {"env_vars": {**environment, "PYTHONPATH": python_path}}
    if address == LOCAL:
        wanted |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(**wanted)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(f"There is no Ray cluster at {address}: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a long file, or an engine's start, may take its time
    # By default a pool grows when its actors have more handed out to them than they do at once, which ours never have.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0


def _see_whether_it_is_there(address: str) -> None:
    """Ask a machine that is named by host and port. (Ray would try to reach it for many minutes.)"""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"There is no Ray cluster at {address}: {error}") from error


def _resources(address: str, pool: Pool) -> tuple[int, int, int]:
    """How many CPUs and GPUs of the cluster each actor takes, and how many actors fit into it as it is."""
    there = ray.cluster_resources()
    kind, each = ("GPU", pool.gpus) if there.get("GPU") else ("CPU", pool.cpus)
    if address == LOCAL and there.get(kind, 0) < each * pool.least:  # another cluster may grow
        raise ClusterError(
            f"{pool.least} engine(s) with {each} {kind}(s) each don't fit into the {there.get(kind, 0):g} of this "
            "machine; see --ray-engines-min and --ray-cpus."
        )
    room = max(1, int(there.get(kind, 0) // each))
    room = min(room, pool.most or room)
    return (1, each, room) if kind == "GPU" else (each, 0, room)
