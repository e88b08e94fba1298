"""
A backfill that is killed again and again: as if nothing had happened, byte for byte.

With ``--kill-files 200 --in-process-kills 10`` it is killed each time with an engine of its own, which starts anew each
time. Otherwise there are fewer files, and most of the kills hit a backfill through a server, which has the session's
engine.
"""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import SmolVLM2Captioner
from demo.broadcast import Broadcast
from tests.archive.archives import Run, make_archive, outputs, records
from tests.archive.children import child
from tests.archive.servers import served

KILLS = 10


def moments(seed: int, files: int) -> Iterator[tuple[int, float]]:
    """Draw when to kill: how many files a backfill gets done, and how many seconds after that; some files are left."""
    drawn = random.Random(seed)
    for _ in range(KILLS):
        yield drawn.randint(0, files // (2 * KILLS)), drawn.uniform(0, 0.3)


def test_killed_ten_times_it_makes_the_archive_of_an_undisturbed_run(
    captioner: SmolVLM2Captioner,
    start: Run,
    broadcast: Broadcast,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    count = pytestconfig.getoption("--kill-files")
    paths = make_archive(tmp_path / "in", broadcast, count, time_frames=1)
    assert start() == 0
    undisturbed = outputs(tmp_path / "out")
    assert list(undisturbed) == paths
    (tmp_path / "out").rename(tmp_path / "undisturbed")

    seed = pytestconfig.getoption("--kill-seed") or random.SystemRandom().randint(1, 10**6)
    print(f"killed at the moments of --kill-seed {seed}")  # shown if it fails
    with_engine = set(random.Random(seed).sample(range(KILLS), pytestconfig.getoption("--in-process-kills")))
    done: dict[str, tuple[int, int]] = {}
    torn = 0
    with served(captioner) as server:
        for number, (files, seconds) in enumerate(moments(seed, count)):
            options = [] if number in with_engine else ["--server", server.url]
            with child(tmp_path, *options) as killed:
                killed.until_begun(files)
                with pytest.raises(subprocess.TimeoutExpired):
                    killed.process.wait(seconds)
            now = records()
            assert list(now) == paths
            assert {record.state for record in now.values()} <= {"waiting", "running", "done"}
            torn += killed.count("running")
            for path, (attempts, written) in done.items():
                assert (now[path].state, now[path].attempts) == ("done", attempts), path
                assert (tmp_path / "out" / path).stat().st_mtime_ns == written, path
            finished = {path: record for path, record in now.items() if record.state == "done"}
            assert all(outputs(tmp_path / "out")[path] == undisturbed[path] for path in finished)
            done = {p: (r.attempts, (tmp_path / "out" / p).stat().st_mtime_ns) for p, r in finished.items()}
            print(f"{number + 1}: {len(done)} done, {killed.count('running')} in flight")
    assert torn  # the kills hit something
    assert start() == 0
    assert outputs(tmp_path / "out") == undisturbed
    last = records()
    assert list(last) == paths
    assert all((r.state, r.cause, r.error) == ("done", None, None) for r in last.values())
    assert all(last[path].attempts == attempts for path, (attempts, _) in done.items())
    # Nothing was begun more often than the kills made necessary.
    assert sum(record.attempts for record in last.values()) == count + torn
