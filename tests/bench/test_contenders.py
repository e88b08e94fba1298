"""Contenders in their processes: what becomes of them when they fail, and when the benchmark is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.contenders import ContenderFailed, Remote

ROOT = Path(__file__).parent.parent.parent

# Has one of these in the middle of a round, and waits.
HARNESS = """
from bench.contenders import Remote
from tests.bench.test_contenders import Sleeper

if __name__ == "__main__":
    remote = Remote(Sleeper)
    print(*remote("pids"), flush=True)
    remote("sleep")
"""


class Sleeper:
    """A contender that has a process of its own, as an engine has, and takes very long."""

    def __init__(self) -> None:
        self._child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def pids(self) -> tuple[int, int]:
        return psutil.Process().pid, self._child.pid

    def sleep(self) -> None:
        self._child.wait()

    def fail(self) -> None:
        raise ValueError("no such prompt")

    def die(self) -> None:
        psutil.Process().kill()

    def close(self) -> None:
        """Forgets its child."""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_benchmark_leaves_no_process(ending: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "harness.py"
    script.write_text(HARNESS)
    harness = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    assert harness.stdout is not None
    with harness.stdout as said:
        left = [psutil.Process(int(pid)) for pid in said.readline().split()]
    assert len(left) == 2
    harness.send_signal(ending)
    harness.wait(timeout=60)
    assert psutil.wait_procs(left, timeout=60)[1] == []


def test_what_it_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for its log
    remote = Remote(Sleeper)
    left = [psutil.Process(pid) for pid in remote("pids")]
    remote.close()
    assert psutil.wait_procs(left, timeout=60)[1] == []


def test_it_says_what_failed_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    remote = Remote(Sleeper)
    with pytest.raises(ContenderFailed, match="Sleeper: fail: ValueError: no such prompt"):
        remote("fail")
    assert len(remote("pids")) == 2
    with pytest.raises(ContenderFailed, match="Sleeper's process ended with -9"):
        remote("die")
    remote.close()
