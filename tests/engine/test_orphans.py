"""Marked processes end with their owner, however that ends, and only they."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.orphans import Family

# Starts a stopped child, a child that ignores signals and has a child of its own, and an unmarked one.
OWNER = """
import os, signal, subprocess, sys
from engine.orphans import Family
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
stubborn = "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN); " \
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True); time.sleep(600)"
other = subprocess.Popen(sleep)
family = Family()
with family.mark():
    stopped = subprocess.Popen(sleep)
    parent = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
os.kill(stopped.pid, signal.SIGSTOP)
if {forks}:
    os.fork() or signal.pause()  # the fork holds the watcher's pipe open
print(other.pid, family._watcher.pid, stopped.pid, parent.pid, parent.stdout.readline().decode().strip(), flush=True)
{ending}
"""


@pytest.mark.parametrize(
    ("ending", "code", "forks"),
    [
        ("signal.pause()", -signal.SIGKILL, False),
        ("os._exit(7)", 7, False),
        ("sys.exit(0)", 0, False),
        ("signal.pause()", -signal.SIGKILL, True),
    ],
)
def test_whatever_ends_the_owner_ends_the_marked(ending: str, code: int, forks: bool) -> None:
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", OWNER.format(ending=ending, forks=forks)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, start_new_session=True)
    assert owner.stdout is not None
    other, *marked = (psutil.Process(int(pid)) for pid in owner.stdout.readline().split())
    try:
        if code == -signal.SIGKILL:
            owner.kill()
        assert owner.wait(timeout=60) == code
        assert psutil.wait_procs(marked, timeout=60)[1] == []
        assert other.is_running()
    finally:
        os.killpg(owner.pid, signal.SIGKILL)
        owner.stdout.close()


def test_a_signal_to_the_watcher_does_not_end_it() -> None:
    family = Family()
    with family.mark():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    watcher = family._watcher
    assert watcher is not None
    assert family.pids == {child.pid}
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        os.kill(watcher.pid, getattr(signal, name))
    assert watcher.poll() is None
    family.close()
    assert child.wait(timeout=60) == -signal.SIGKILL
    assert watcher.returncode == 0
    family.close()  # does nothing


def test_without_a_watcher_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    family = Family()
    with pytest.raises(OSError, match="does not run"), family.mark():
        pytest.fail("a process that nobody watches over might be started here")
    family.close()


def test_the_environment_is_afterwards_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPT_NOENV", "own")
    before = dict(os.environ)
    family = Family()
    with family.mark():
        assert os.environ["SPT_NOENV"] == "1"
    assert dict(os.environ) == before
    family.close()


def test_it_waits_for_a_process_that_ends() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"])
    Family().wait_until_gone({child.pid})
    assert child.poll() == 0
    Family().wait_until_gone({child.pid})  # is not there any more


def test_killing_spares_the_unmarked_and_another_family() -> None:
    ours, theirs = Family(), Family()
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with ours.mark():
        mine = subprocess.Popen(sleep)
    with theirs.mark():
        other = subprocess.Popen(sleep)
    unmarked = subprocess.Popen(sleep)
    try:
        ours.kill()
        assert mine.wait(timeout=60) == -signal.SIGKILL
        assert (ours.pids, theirs.pids) == (set(), {other.pid})
        assert other.poll() is None
        assert unmarked.poll() is None
    finally:
        ours.close()
        theirs.close()
        unmarked.kill()
        assert other.wait(timeout=60) == -signal.SIGKILL
        unmarked.wait()
