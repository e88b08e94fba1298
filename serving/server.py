"""Flask's development server, or gunicorn with one worker that owns the engine."""

import logging
import os
import signal
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any

from clams import Restifier
from clams.restify import ClamsHTTPApi
from flask import Flask, Response, jsonify, request

from captioning.running import CallCancelled, Reason, RunningCall
from engine.engine import Engine
from engine.errors import EngineError
from serving.calls import Calls
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from app import SmolVLM2Captioner

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 10
_WORKER_BOOT_ERROR = 3  # gunicorn's: the arbiter ends with this code, too, instead of trying another worker

# What is answered to a call that was cancelled. 499 is nginx's, and for the log alone: nobody is there to read it.
_CANCELLED = {
    Reason.CLIENT_GONE: ("The client closed the connection before the answer.", 499),
    Reason.DELETED: ("The call was cancelled by the operator; nothing was done. Ask before sending it again.", 409),
    Reason.DRAINING: ("The server is shutting down; the call was cancelled, nothing was done. Send it again.", 503),
}


def serve(app: "SmolVLM2Captioner", settings: ServingSettings, *, port: int, production: bool) -> None:
    """
    Serve ``app`` until a signal ends the process. Calls are refused with 503 until the engine is warm.

    :param port: TCP port to listen on
    :param production: gunicorn; otherwise Flask's development server
    """
    http = restified(app)
    http.host, http.port = settings.host, port
    if production:
        # One worker, never recycled: it owns the engine, and its threads share it.
        http.serve_production(
            workers=1,
            threads=settings.threads,
            max_requests=0,
            graceful_timeout=settings.grace_seconds,
            post_worker_init=lambda worker: _start_in_background(app.engine),
            worker_exit=lambda server, worker: _end(app.engine),
        )
        return
    _start_in_background(app.engine)
    try:
        http.run(use_reloader=False)  # a reloader would build a second engine
    finally:
        app.engine.close()


def restified(app: "SmolVLM2Captioner") -> Restifier:
    """Make the SDK's HTTP front of ``app``, with health endpoints, and refusing work that the engine can't take now."""
    http = Restifier(app)
    _guard(http.flask_app, app.engine)
    _follow_calls(http.flask_app, Calls())
    return http


def _follow_calls(flask_app: Flask, calls: Calls) -> None:
    """Put a call in flight around each run of the SDK's view that does work."""
    endpoint = ClamsHTTPApi.__name__.lower()  # flask_restful's choice
    view = flask_app.view_functions[endpoint]

    @wraps(view)
    def followed(**arguments: Any) -> Any:
        if request.method not in ("POST", "PUT"):
            return view(**arguments)
        call = RunningCall()
        with calls.running(call):
            try:
                return view(**arguments)
            except CallCancelled as cancelled:
                return _cancelled(cancelled.reason)

    flask_app.view_functions[endpoint] = followed


def _guard(flask_app: Flask, engine: Engine) -> None:
    @flask_app.get("/health/live")
    def live() -> Response:
        return jsonify(status="live")

    @flask_app.get("/health/ready")
    def ready() -> Response:
        return jsonify(status="ready", model=engine.model.record) if engine.is_ready else _unavailable(engine)

    @flask_app.before_request
    def admit() -> Response | None:
        if request.method not in ("POST", "PUT"):
            return None
        if not engine.is_ready:
            return _unavailable(engine)
        try:
            request.get_data().decode()
        except UnicodeDecodeError as error:  # the SDK decodes before it watches for errors
            return Response(f"Invalid input data. The body is not UTF-8: {error}", 500, mimetype="text/plain")
        return None


def _cancelled(reason: Reason) -> Response:
    text, code = _CANCELLED[reason]
    response = jsonify(error=text, cause=reason)
    response.status_code = code
    if code == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _unavailable(engine: Engine) -> Response:
    state = "starting" if engine.state == "new" else engine.state
    response = jsonify(error=f"The engine is {state}; nothing was done. Try again later.", state=state)
    response.status_code = 503
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _start_in_background(engine: Engine) -> None:
    def start() -> None:
        try:
            engine.start()
        except EngineError as error:
            logger.critical("%s", error)
            logging.shutdown()
            os._exit(_WORKER_BOOT_ERROR)

    engine.on_death = _leave
    threading.Thread(target=start, name="engine-start", daemon=True).start()


def _leave() -> None:
    # Calls in flight get their answers first.
    logger.critical("The engine could not be brought back; the server ends.")
    os.kill(os.getpid(), signal.SIGTERM)


def _end(engine: Engine) -> None:
    gave_up = engine.state == "dead"
    engine.close()
    if gave_up:
        logging.shutdown()
        os._exit(_WORKER_BOOT_ERROR)  # whoever supervises the server is to see that something is wrong
