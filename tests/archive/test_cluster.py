"""A backfill on Ray: a cluster of this machine with two engines makes the archive that one engine makes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from archive.inputs import Job, find_jobs
from archive.ledger import FOLDER, Ledger
from archive.records import Result
from archive.work import Stopped
from demo.broadcast import Broadcast
from tests.archive.archives import Run, make_archive, outputs, records
from tests.archive.children import child
from tests.archive.stand_ins import NoEngine, StandIn

pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")

import ray

from archive.cluster import LOCAL, THREADS, ClusterError, Pool, RayRunner

FILES = 16
TWO = ("--ray", "--ray-engines-min", "2", "--ray-engines-max", "2", "--ray-cpus", "1", "--parallel", "3")


def workers() -> dict[str, int]:
    """How many files each worker has done."""
    names = [str(record.worker) for record in records().values() if record.state == "done"]
    return {name: names.count(name) for name in sorted(set(names))}


def test_two_engines_make_the_same_archive_though_one_is_killed(
    start: Run, broadcast: Broadcast, tmp_path: Path
) -> None:
    paths = make_archive(Path("in"), broadcast, FILES)
    Path("in", "broken.mmif").write_text("{")
    assert start() == 4
    undisturbed = outputs(Path("out"))
    assert list(undisturbed) == paths
    Path("out").rename("undisturbed")

    with child(tmp_path, *TWO) as running:
        running.until(lambda: bool(running.records()))
        running.until(lambda: len(workers()) == 2)
        killed, other = workers()
        pid = int(killed.split()[-1])
        engines = [process.pid for process in psutil.Process(pid).children(recursive=True)]
        os.kill(pid, signal.SIGKILL)
        before = workers()[killed]
        assert running.process.wait(timeout=600) == 4, running.log.read_text()
    assert engines
    assert not any(psutil.pid_exists(engine) for engine in engines)
    done = workers()
    assert sum(done.values()) == FILES
    assert done[other] > 0
    assert done[killed] <= before + 3  # what it had sent off by then
    assert outputs(Path("out")) == undisturbed
    now = records()
    assert list(now) == sorted([*paths, "broken.mmif"])
    assert {path: record.cause for path, record in now.items() if record.state == "failed"} == {"broken.mmif": "mmif"}
    again = {path for path, record in now.items() if record.attempts > 1}
    assert len(again) <= 3  # those that the killed one had in flight
    with Ledger(Path("out"), read_only=True) as ledger:
        (run,) = ledger.runs()
    assert (run.outcome, run.live["files"], run.live["capacity"]) == ("incomplete", 0, run.live["capacity"])
    assert start() == 4  # the same ledger: nothing is left to do, on whatever it runs
    assert {path: (r.state, r.attempts) for path, r in records().items()} == {
        p: (r.state, r.attempts) for p, r in now.items()
    }


Make = Callable[..., RayRunner]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Workers go on when this file is there."""
    return tmp_path / "gate"


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.mmif").write_text('{"views": []}')
    (tmp_path / "out" / FOLDER).mkdir(parents=True)
    return find_jobs([str(folder)], tmp_path / "out")


@pytest.fixture
def on_cluster(gate: Path, tmp_path: Path) -> Iterator[Make]:
    """A cluster with a stand-in for the app, of one worker if no more are asked for, three files in flight in each."""
    made: list[RayRunner] = []

    def make(app: Any, most: int = 1) -> RayRunner:
        pool = Pool(1, most, cpus=1, gpus=1, parallel=3)
        made.append(RayRunner(LOCAL, app, (), tmp_path / "out", pool, "asked", {"GATE": str(gate)}))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def test_a_file_that_kills_its_workers_fails_alone(on_cluster: Make, jobs: list[Job], gate: Path) -> None:
    gate.touch()
    jobs[1].source.write_text('{"views": [], "deadly": true}')
    begun: list[str] = []
    results = {result.path: result for result in on_cluster(StandIn).results(jobs, lambda job: begun.append(job.path))}
    failed = results.pop("01.mmif")
    assert failed.cause == "engine"
    assert "01.mmif in hand ended unexpectedly, at last with nothing else in hand" in str(failed.error)
    assert failed.stamp
    assert failed.stamp.size == jobs[1].source.stat().st_size
    assert sorted(results) == [job.path for job in jobs if job is not jobs[1]]
    assert {result.cause for result in results.values()} == {None}
    assert all(job.target.read_text() == '{"views": []}' for job in jobs if job is not jobs[1])
    assert set(begun) == {job.path for job in jobs}


def test_there_are_as_many_workers_as_files_need_and_told_to_stop_these_end_with_what_they_have(
    on_cluster: Make, jobs: list[Job], gate: Path
) -> None:
    runner = on_cluster(StandIn, most=2)
    wanted = 3 * min(2, os.cpu_count() or 1)  # each has three
    begun: list[str] = []
    full = threading.Event()

    def note(job: Job) -> None:
        begun.append(job.path)
        if len(begun) == wanted:
            full.set()

    results: list[Result] = []
    consuming = threading.Thread(target=lambda: results.extend(runner.results(jobs, note)))
    consuming.start()
    full.wait()
    assert of_ray_data()
    runner.stop()
    runner._hear({job.path: job for job in jobs}, note)  # the workers know
    gate.touch()
    consuming.join()
    assert len(begun) == wanted
    assert len({result.worker for result in results}) == wanted // 3
    assert sorted(result.path for result in results) == sorted(begun)
    assert {job.path for job in jobs if job.target.exists()} == set(begun)
    runner.close()
    assert not of_ray_data()


def of_ray_data() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]


def test_the_cluster_is_left_when_what_hands_out_files_has_ended(on_cluster: Make) -> None:
    runner = on_cluster(StandIn)
    still_there: list[bool] = []

    def end_late() -> None:
        threading.Event().wait(0.5)
        still_there.append(ray.is_initialized())

    threading.Thread(target=end_late, name=f"{THREADS[0]}late").start()
    runner.close()
    assert still_there == [True]


def test_without_an_engine_it_stops_and_says_so(on_cluster: Make, jobs: list[Job]) -> None:
    with pytest.raises(Stopped, match="^ray .*: The model does not fit.$"):
        list(on_cluster(NoEngine).results(jobs, lambda job: None))
    assert not any(job.target.exists() for job in jobs)


def test_a_name_that_is_not_utf_8_fails_alone(on_cluster: Make, jobs: list[Job], gate: Path) -> None:
    gate.touch()
    odd = jobs[0].source.with_name(os.fsdecode(b"\xe4.mmif"))
    jobs[0].source.rename(odd)
    renamed = find_jobs([str(odd.parent)], jobs[0].target.parent)
    results = {result.path: result.cause for result in on_cluster(StandIn).results(renamed, lambda job: None)}
    assert results == {job.path: None for job in jobs[1:]} | {r"\xe4.mmif": "input"}


def test_a_machine_without_the_output_folder_makes_none(on_cluster: Make, jobs: list[Job], gate: Path) -> None:
    gate.touch()
    ledger = jobs[0].target.parent / FOLDER
    ledger.rmdir()
    runner = on_cluster(StandIn)
    with pytest.raises(Stopped, match=rf"^ray \S+ \d+: {ledger.parent} is not there.* mount it there, and start"):
        list(runner.results(jobs, lambda job: None))
    runner.close()
    assert not any(job.target.exists() for job in jobs)
    ledger.symlink_to("/a folder of the driver's machine")
    assert {result.cause for result in on_cluster(StandIn).results(jobs, lambda job: None)} == {None}


def test_a_cluster_that_can_t_be_used_is_refused() -> None:
    with pytest.raises(ClusterError, match="There is no Ray cluster at 127.0.0.1:1: "):
        RayRunner("127.0.0.1:1", StandIn, (), Path("out"), Pool(1, 1, 1, 1, 1), "", {})
    with pytest.raises(ClusterError, match=r"1 engine\(s\) with 5000 CPU\(s\) each don't fit into the"):
        RayRunner(LOCAL, StandIn, (), Path("out"), Pool(1, 1, 5000, 1, 1), "", {})
