"""The app over HTTP with faults put in its way, for tests of those who call it."""

import contextlib
import io
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from app import SmolVLM2Captioner
from serving.server import restified
from tests.listening import listening

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def answer(status: int, body: str = "", **headers: str) -> Wsgi:
    """A fault: this answer in place of the app's."""

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        start_response(f"{status} Fault", [("Content-Type", "text/plain"), *given])
        return [body.encode()]

    return wsgi


def hang_up(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A fault: the connection ends without an answer."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return []


class Faulty:
    """
    An app behind faults.

    :param faults: what the next POSTs get in place of an answer; then the app answers
    :param always: what all of them get
    """

    def __init__(self, app: Wsgi) -> None:
        self.app = app
        self.faults: deque[Wsgi] = deque()
        self.always: Wsgi | None = None
        self.metadata: Wsgi | None = None
        self.posts: list[tuple[dict[str, str], Any]] = []
        self.url = ""
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            return (self.metadata or self.app)(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        with self._lock:
            self.posts.append((headers, json.loads(body)))
            fault = self.faults.popleft() if self.faults else self.always
        if fault:
            return fault(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(body)
        return self.app(environ, start_response)


@contextlib.contextmanager
def served(captioner: SmolVLM2Captioner) -> Iterator[Faulty]:
    """Serve the app, its engine as it is."""
    faulty = Faulty(restified(captioner).flask_app)
    with listening(faulty) as address:
        faulty.url = f"http://{address}"
        yield faulty
