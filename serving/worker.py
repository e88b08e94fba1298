"""gunicorn's worker, and what its arbiter has to be told, so that a server drains before it closes its door."""

import contextlib
import os
import selectors
import signal
import socket
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from serving.drain import Drain

MARGIN_SECONDS = 25  # after the grace time, in which cancelled calls are answered and the engine ends
RESERVE = 16  # threads beyond those of the calls in flight, for health, numbers and refusals
# By these gunicorn takes settings anew, starts or ends workers, or starts another server beside this one: there would
# be another engine on the card, or none. And a worker ends, or stops, with its calls.
_IGNORED = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2)
_LINGER_SECONDS = 2.0  # gunicorn's, in which a client may close its side first
_CHUNK = 65536


class Worker(ThreadWorker):
    """
    A worker that goes on taking connections while it drains: gunicorn's own would close the door on SIGTERM, so that
    nobody could be told why. And one that goes on taking them while a client is slow to close an old one.
    """

    drain: Drain | None = None  # until it has started

    def init_process(self) -> None:
        """Serve until the end."""
        self._lingering: dict[Any, float] = {}  # connections, in the order of the times at which they are closed
        super().init_process()

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """
        See what becomes of a connection whose request has been answered.

        gunicorn waits for clients to close theirs, two seconds for each, on the one thread that takes new ones. Here
        that thread looks at them when there is something to be seen.
        """
        if not fs.cancelled() and (fs.exception() or fs.result()):
            super().finish_request(conn, fs)
        else:
            self._linger(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections that have had their time; called every second, and after events."""
        super().murder_keepalived(force)
        for conn in [conn for conn, until in self._lingering.items() if force or until < time.monotonic()]:
            self._let_go(conn)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Drain; called on SIGTERM."""
        if self.drain:
            self.drain.signal()
        else:
            super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Drain without waiting; called on SIGINT and SIGQUIT."""
        if self.drain:
            self.drain.signal(at_once=True)
        else:
            super().handle_quit(sig, frame)

    def is_parent_alive(self) -> bool:
        """See whether the arbiter is there. Without it the port and the engine's memory are somebody else's soon."""
        alive = bool(super().is_parent_alive())
        if not alive and self.drain:
            self.drain.signal(at_once=True)
            self.drain.wait()
        return alive

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that can't be read or served, and log it without its parameters, which may hold prompts."""
        if hasattr(req, "uri"):
            req.uri = req.path
        super().handle_error(req, client, addr, exc)

    def stop(self) -> None:
        """Take no more connections, and end when those there are have their answers. Any thread may call it."""
        self.method_queue.defer(self._stop)

    def _stop(self) -> None:
        self.alive = False

    def _linger(self, conn: Any) -> None:
        """
        Close one side of a connection, and the other when the client has closed its own (RFC 9112, 9.6): should more
        of the request be on its way, the kernel would reset the connection under the end of the answer.
        """
        self._lingering[conn] = time.monotonic() + _LINGER_SECONDS
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError):  # closed, by either side
            self._let_go(conn)

    def _drain(self, conn: Any, sock: socket.socket) -> None:
        try:
            gone = not sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._let_go(conn)

    def _let_go(self, conn: Any) -> None:
        del self._lingering[conn]
        with contextlib.suppress(OSError, KeyError, ValueError):  # it was not watched
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


class Log(Logger):
    """gunicorn's log by way of everyone's."""

    def setup(self, cfg: Any) -> None:
        """Configure it."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def ignore_reloads() -> None:
    """Have this process, and those that it starts, take no notice of signals that would cost the engine."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


def pass_repeats_on(arbiter: Any) -> None:
    """Have the arbiter hand a second SIGTERM to its worker: while it waits for it, it takes no notice itself."""
    usual = signal.getsignal(signal.SIGTERM)
    assert callable(usual)
    stopping = False

    def on_term(sig: int, frame: Any) -> None:
        nonlocal stopping
        if stopping:
            for pid in list(arbiter.WORKERS):
                os.kill(pid, signal.SIGTERM)
        stopping = True
        usual(sig, frame)

    signal.signal(signal.SIGTERM, on_term)
