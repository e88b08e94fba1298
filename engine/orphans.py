"""
Engine processes that end with the process that started them, whatever ends that one.

All processes started within :meth:`Family.mark` carry a mark in their environment, as do their own children. A watcher,
a small process beside them, holds the end of a pipe that closes when the owner ends, SIGKILL included; it then kills
whatever carries the mark, and ends. It needs neither the cooperation of the marked (a stopped or hanging process is
killed, too) nor a list of them, which would lack those started last.

This file is also the watcher's program and imports nothing but the standard library. Linux only: elsewhere nothing is
ever found.
"""

import contextlib
import multiprocessing.resource_tracker
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_VARIABLE = "SMOLVLM2_CAPTIONER_ENGINE"
_GONE_SECONDS = 10.0  # that a killed process may take to be gone


class Family:
    """The processes of one engine, and the watcher over them."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._watcher: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def mark(self) -> Iterator[None]:
        """
        Mark the processes that are started meanwhile by this process.

        :raises OSError: if the watcher can't be started
        """
        # Of this process, not of one engine: it has to outlive them all.
        multiprocessing.resource_tracker.ensure_running()
        if self._watcher is None:
            command = [sys.executable, "-I", "-S", __file__, self._mark, str(os.getpid())]
            # In a session of its own, so that what ends the owner by group or by terminal doesn't end it first.
            self._watcher = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if name != _VARIABLE},
                start_new_session=True,
            )
            assert self._watcher.stdout is not None
            with self._watcher.stdout as ready:
                if not ready.read(1):
                    raise OSError("The process that would end the engine's after this one's death does not run.")
        # Without the second, setproctitle, which vLLM uses, writes its title over the environment that can be read.
        added = {_VARIABLE: self._mark, "SPT_NOENV": "1"}
        before = {name: os.environ.get(name) for name in added}
        os.environ.update(added)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    @property
    def pids(self) -> set[int]:
        """The ids of the processes that carry the mark and have not ended."""
        return set(_marked(self._mark))

    def kill(self) -> None:
        """Kill the processes that carry the mark, however deep, and wait until they are gone; 10 s at most."""
        pids = self.pids
        _kill(self._mark)
        self.wait_until_gone(pids)

    def wait_until_gone(self, pids: set[int]) -> None:
        """Wait until processes that end have ended and given back what they held; 10 s at most."""
        until = time.monotonic() + _GONE_SECONDS
        while any(_is_there(pid) for pid in pids) and time.monotonic() < until:
            time.sleep(0.02)

    def close(self) -> None:
        """Kill what is left, and end the watcher. Idempotent."""
        if self._watcher is None:
            return
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait()
        self._watcher = None


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{_VARIABLE}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def _is_there(pid: int) -> bool:
    """Whether a process has not ended. Its environment is gone sooner, and its memory later."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _kill(mark: str) -> None:
    until = time.monotonic() + _GONE_SECONDS
    while (found := list(_marked(mark))) and time.monotonic() < until:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _watch(mark: str, owner: int) -> None:  # not covered: in a process of its own, which the tests start and look at
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    print("ready", flush=True)
    # The pipe says it at once; a child that the owner forked may hold it open, though, so look at the parent, too.
    while not select.select([sys.stdin], [], [], 1.0)[0] and os.getppid() == owner:
        pass
    _kill(mark)


if __name__ == "__main__":  # not covered: the same process
    _watch(sys.argv[1], int(sys.argv[2]))
