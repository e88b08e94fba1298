"""The production server as a process: gunicorn, its one worker, and the engine under it."""

import contextlib
import http.client
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import requests

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=60)

    def post(self, mmif: str, headers: dict[str, str] | None = None, **parameters: Any) -> requests.Response:
        return requests.post(self.url + "/", data=mmif.encode(), params=parameters, headers=headers, timeout=600)

    def get_and_stay(self, path: str) -> socket.socket:
        """Read an answer to its end, and keep this side of the connection open."""
        made = socket.create_connection(self.address, timeout=60)
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with made.makefile("rb") as answer:
            assert b" 200 " in answer.readline()
            answer.read()
        return made

    def listens(self) -> bool:
        """Whether there is somebody to ask."""
        try:
            socket.create_connection(self.address).close()
        except ConnectionRefusedError:
            return False
        return True

    def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/calls").json()
        return found

    def load(self) -> dict[str, int]:
        """What is held of everything bounded."""
        return {name: bound["value"] for name, bound in self.get("/health/ready").json()["load"].items()}

    def log_lines(self) -> list[dict[str, Any]]:
        """The lines that are JSON; some are other processes'."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so."""
        for _ in range(6000):
            if reached():
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"not reached; calls: {self.calls()}\n{self.log.read_text()}")

    @property
    def worker(self) -> psutil.Process:
        """gunicorn's only one."""
        (found,) = psutil.Process(self.process.pid).children()
        return found

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def has_core(self) -> bool:
        """Whether the engine's process is there; others come and go during a start."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "EngineCore" in process.name():
                    return True
        return False

    def core(self) -> psutil.Process:
        """The engine's process."""
        (found,) = [process for process in self.family() if "EngineCore" in process.name()]
        return found

    @contextlib.contextmanager
    def engine_stopped(self) -> Iterator[None]:
        """Nothing in the engine gets on meanwhile."""
        core = self.core()
        core.suspend()
        try:
            yield
        finally:
            core.resume()

    def open(self, mmif: str | bytes, headers: dict[str, str] | None = None, **parameters: Any) -> "Connection":
        """Send a call and don't wait for the answer."""
        body = mmif.encode() if isinstance(mmif, str) else mmif
        lines = {"Host": "localhost", "Content-Length": str(len(body))} | (headers or {})
        head = f"POST /?{urlencode(parameters, doseq=True)} HTTP/1.1\r\n"
        return Connection(self, head + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n", body)

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def await_ready(self) -> None:
        for _ in range(2400):
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.get("/health/ready").status_code == 200:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        raise AssertionError("not ready in time\n" + self.log.read_text())


class Connection:
    """A connection on which a call was sent."""

    def __init__(self, server: Server, head: str, body: bytes) -> None:
        self._socket = socket.create_connection(server.address, timeout=600)
        self._socket.sendall(head.encode() + body)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Wait for the answer: status, headers with names in lower case, body."""
        with self._socket, contextlib.closing(http.client.HTTPResponse(self._socket)) as answer:
            answer.begin()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def answered(self) -> bool:
        """Whether there is something to be read."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """Go away, as a killed client does."""
        self._socket.close()


def start(log: Path, *flags: str) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--production", "--host", "127.0.0.1", "--port", str(port), *flags]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    return Server(process, f"http://127.0.0.1:{port}", log)


def stop(server: Server) -> None:
    with_children = server.family() if server.process.poll() is None else []
    server.process.terminate()
    server.process.wait(timeout=120)
    psutil.wait_procs(with_children, timeout=30)
