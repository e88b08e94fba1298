"""A backfill on Ray: what becomes of files when workers die, fail or are told to stop."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archive.inputs import Job, find_jobs
from archive.records import Result
from archive.work import Stopped
from tests.archive.stand_ins import NoEngine, StandIn

pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")

from archive.cluster import LOCAL, ClusterError, Pool, RayRunner

Make = Callable[[Any], RayRunner]


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
    return find_jobs([str(folder)], tmp_path / "out")


@pytest.fixture
def on_cluster(gate: Path) -> Iterator[Make]:
    """A cluster of one worker with a stand-in for the app, three files in flight."""
    made: list[RayRunner] = []

    def make(app: Any) -> RayRunner:
        made.append(RayRunner(LOCAL, app, (), Pool(1, 1, cpus=1, gpus=1, parallel=3), "asked", {"GATE": str(gate)}))
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


def test_told_to_stop_it_ends_with_what_is_begun(on_cluster: Make, jobs: list[Job], gate: Path) -> None:
    runner = on_cluster(StandIn)
    begun: list[str] = []
    three = threading.Event()

    def note(job: Job) -> None:
        begun.append(job.path)
        if len(begun) == 3:
            three.set()

    results: list[Result] = []
    consuming = threading.Thread(target=lambda: results.extend(runner.results(jobs, note)))
    consuming.start()
    three.wait()
    runner.stop()
    runner._hear({job.path: job for job in jobs}, note)  # the workers know
    gate.touch()
    consuming.join()
    assert len(begun) == 3
    assert sorted(result.path for result in results) == sorted(begun)
    assert {job.path for job in jobs if job.target.exists()} == set(begun)


def test_without_an_engine_it_stops_and_says_so(on_cluster: Make, jobs: list[Job]) -> None:
    with pytest.raises(Stopped, match="^ray .*: The model does not fit.$"):
        list(on_cluster(NoEngine).results(jobs, lambda job: None))
    assert not any(job.target.exists() for job in jobs)


def test_a_cluster_that_can_t_be_used_is_refused() -> None:
    with pytest.raises(ClusterError, match="There is no Ray cluster at 127.0.0.1:1: "):
        RayRunner("127.0.0.1:1", StandIn, (), Pool(1, 1, 1, 1, 1), "", {})
    with pytest.raises(ClusterError, match=r"1 engine\(s\) with 5000 CPU\(s\) each don't fit into the"):
        RayRunner(LOCAL, StandIn, (), Pool(1, 1, 5000, 1, 1), "", {})
