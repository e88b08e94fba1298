"""gunicorn's worker, and what its arbiter has to be told, so that a server drains before it closes its door."""

import os
import signal
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from serving.drain import Drain

MARGIN_SECONDS = 25  # after the grace time, in which cancelled calls are answered and the engine ends
RESERVE = 16  # threads beyond those of the calls in flight, for health, numbers and refusals


class Worker(ThreadWorker):
    """
    A worker that goes on taking connections while it drains: gunicorn's own would close the door on SIGTERM, so that
    nobody could be told why.
    """

    drain: Drain | None = None  # until it has started

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


class Log(Logger):
    """gunicorn's log by way of everyone's."""

    def setup(self, cfg: Any) -> None:
        """Configure it."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


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
