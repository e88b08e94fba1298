"""The production server as a process of its own, for scenarios that see the app as its callers do."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from bench.engines import DEFAULTS

ROOT = Path(__file__).parent.parent
_START_SECONDS = 600


@dataclass(frozen=True)
class Server:
    """
    A server that runs.

    :param process: gunicorn's arbiter; its child is the worker, whose child is the engine
    :param url: without a slash at its end
    :param log: where its output goes
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def family(self) -> list[psutil.Process]:
        """The server's processes, its engine's included."""
        arbiter = psutil.Process(self.process.pid)
        return [arbiter, *arbiter.children(recursive=True)]

    @property
    def worker(self) -> psutil.Process:
        """The process that answers calls."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    @property
    def is_ready(self) -> bool:
        """Whether it takes calls now."""
        try:
            return requests.get(self.url + "/health/ready", timeout=60).ok
        except requests.ConnectionError:
            return False

    @property
    def memory(self) -> int:
        """Bytes that its processes hold, what they share divided among them (PSS)."""
        return sum(_held(process) for process in self.family)


@contextlib.contextmanager
def serving(log: Path, **settings: str) -> Iterator[Server]:
    """
    Run a server until the block is left; its engine is warm when the block begins.

    :param log: file for its output
    :param settings: the app's settings by name (``max_seqs="8"``), over the environment's
    :raises RuntimeError: if it ends, or doesn't get ready in time
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {f"CAPTIONER_{name.upper()}": value for name, value in (DEFAULTS | settings).items()}
    command = [sys.executable, "app.py", "--production", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=output, stderr=output)
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        _await_ready(server)
        yield server
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = server.family
            process.terminate()
            process.wait()
            psutil.wait_procs(family, timeout=60)


def _held(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):  # ended meanwhile
        return int(process.memory_full_info().pss)
    return 0


def _await_ready(server: Server) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            break
        if server.is_ready:
            return
        time.sleep(0.1)
    raise RuntimeError(f"The server did not get ready; its log ends with:\n{server.log.read_text()[-4000:]}")
