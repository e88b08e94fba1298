"""One backfill at a time on an output folder."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from archive.lock import Locked, is_locked, locked

ROOT = Path(__file__).parent.parent.parent
HOLDER = """
import sys, time
from pathlib import Path
from archive.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_the_second_is_told_of_the_first_and_a_killed_one_lets_go(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    with holder:
        assert is_locked(tmp_path)
        with pytest.raises(Locked, match=f"process {holder.pid} on .*since 20.*status"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_asking_does_not_make_a_folder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
