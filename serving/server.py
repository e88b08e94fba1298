"""Flask's development server, or gunicorn with one worker that owns the engine."""

import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import struct
import threading
from typing import TYPE_CHECKING

from clams import Restifier

from engine.engine import Engine
from engine.errors import EngineError, EngineUnavailable
from serving import logs
from serving.drain import Drain
from serving.front import Service, restified
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from app import SmolVLM2Captioner

logger = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # of malloc.h
_WORKER_BOOT_ERROR = 3  # gunicorn's: the arbiter ends with this code, too, instead of trying another worker


def serve(app: "SmolVLM2Captioner", settings: ServingSettings, *, port: int, production: bool) -> None:
    """
    Serve ``app`` until a signal ends the process. Calls are refused with 503 until the engine is warm.

    :param port: TCP port to listen on
    :param production: gunicorn; otherwise Flask's development server
    """
    logs.configure(settings.log_format)
    _share_arenas()
    service = Service.of(app, settings)
    http = restified(app, service)
    http.host, http.port = settings.host, port
    if production:
        _serve_with_gunicorn(http, app.engine, service)
        return
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # its lines hold the parameters, prompts among them
    service.watch.history.start()
    _start_in_background(app.engine)
    try:
        http.run(use_reloader=False)  # a reloader would build a second engine
    finally:
        app.engine.close()


def _serve_with_gunicorn(http: Restifier, engine: Engine, service: Service) -> None:
    from gunicorn.arbiter import Arbiter

    from serving.worker import MARGIN_SECONDS, RESERVE, Log, Worker, ignore_reloads, pass_repeats_on

    settings = service.settings

    def listen(arbiter: Arbiter) -> None:
        ignore_reloads()
        pass_repeats_on(arbiter)

    def begin(worker: Worker) -> None:
        ignore_reloads()  # once more: gunicorn has set all signals for the worker
        worker.drain = Drain(service.calls, service.admission, settings.grace_seconds, worker.stop)
        worker.drain.start()
        for listener in worker.sockets:
            _bound_silence(listener.sock, settings.client_seconds)
        service.watch.history.start()  # not before: threads stay behind when the arbiter forks
        _start_in_background(engine)

    # One worker, never recycled: it owns the engine, and its threads share it.
    http.serve_production(
        workers=1,
        worker_class=Worker,
        threads=settings.max_calls + RESERVE,
        max_requests=0,
        graceful_timeout=settings.grace_seconds + MARGIN_SECONDS,
        logger_class=Log,
        accesslog=None,  # its lines hold the parameters, prompts among them
        control_socket_disable=True,  # by which anybody of the same user could ask for another worker, and engine
        when_ready=listen,
        post_worker_init=begin,
        worker_exit=lambda server, worker: _end(engine),
    )


def _share_arenas() -> None:
    """
    Have glibc's malloc do with two arenas. It makes more of them for threads that allocate at once; the frames of each
    call are made on other threads, and what is freed in one arena is of no use to the next.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _bound_silence(listener: socket.socket, seconds: int) -> None:
    """Have reading from and writing to ``listener``'s connections fail after so many seconds without progress."""
    period = struct.pack("ll", seconds, 0)  # a timeval; accepted sockets inherit it
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, period)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, period)


def _start_in_background(engine: Engine) -> None:
    def start() -> None:
        try:
            engine.start()
        except EngineUnavailable:  # closed: the server ends, as it was told to
            return
        except EngineError as error:
            logger.critical("%s", error)
            logging.shutdown()
            os._exit(_WORKER_BOOT_ERROR)
        _set_aside()

    engine.on_death = _leave
    threading.Thread(target=start, name="engine-start", daemon=True).start()


def _set_aside() -> None:
    """
    Have Python's collector of cycles pass over all that is there now, and that stays: most of a million objects, which
    would put off a full collection until there is a quarter as much of what calls leave behind, and make it take half a
    second, in which no thread of the server gets on.
    """
    gc.collect()
    gc.freeze()


def _leave() -> None:
    # Calls in flight get their answers first.
    logger.critical("The engine could not be brought back; the server ends.")
    os.kill(os.getpid(), signal.SIGTERM)


def _end(engine: Engine) -> None:
    before = engine.state
    engine.close()
    if before in ("dead", "starting"):
        logging.shutdown()
        # Whoever supervises the server is to see that something is wrong; but not where a start was cut short, whose
        # threads may be in the middle of a download, for which Python would wait.
        os._exit(_WORKER_BOOT_ERROR if before == "dead" else 0)
