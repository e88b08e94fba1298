"""The HTTP front: the SDK's, and around it what a server needs that many callers share."""

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Self

from clams import Restifier
from clams.restify import ClamsHTTPApi
from flask import Flask, Response, jsonify, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from captioning.running import CallCancelled, Reason, RunningCall
from engine.engine import Engine
from serving import logs
from serving.access import Access
from serving.admission import MIB, Admission, Draining, Full
from serving.answers import complaint, try_again
from serving.calls import Calls
from serving.clients import Clients
from serving.settings import ServingSettings
from serving.watch import Watch, add_pages

if TYPE_CHECKING:
    from app import SmolVLM2Captioner

logger = logging.getLogger(__name__)

CALL_ID = "X-Call-Id"
PRIORITY = "X-Priority"
TIME_LIMIT = "X-Timeout-Seconds"

# What is answered to a call that was cancelled. 499 is nginx's, and for the log alone: nobody is there to read it.
_CANCELLED = {
    Reason.CLIENT_GONE: (499, "The client closed the connection before the answer."),
    Reason.DELETED: (409, "The call was deleted by an operator; nothing was done. Ask before sending it again."),
    Reason.DRAINING: (
        503,
        "The server is shutting down and cancelled the call; nothing was done. Send it again later.",
    ),
    Reason.ENGINE_GONE: (503, "The engine went away under the call; nothing was done. Send it again later."),
}


@dataclass(frozen=True)
class Service:
    """What the front's endpoints share."""

    settings: ServingSettings
    engine: Engine
    calls: Calls
    admission: Admission
    access: Access
    clients: Clients
    watch: Watch

    @classmethod
    def of(cls, app: "SmolVLM2Captioner", settings: ServingSettings) -> Self:
        """Make it for an app."""
        calls = Calls()
        admission = Admission(settings, app.engine, app.frame_budget, calls)
        access = Access(settings.secret, reading=settings.token_for_reading)
        state = partial(_state, app.engine, admission)
        watch = Watch(app.engine, app.frame_budget, calls, state, str(app.metadata.app_version), admission.look)
        return cls(settings, app.engine, calls, admission, access, Clients(), watch)

    @property
    def state(self) -> str:
        """``ready``, or why there are no captions to be had now."""
        return _state(self.engine, self.admission)


class WrongHeader(ValueError):
    """A header of a request says what can't be. Seen by the caller."""


def restified(app: "SmolVLM2Captioner", service: Service | None = None) -> Restifier:
    """Make the SDK's HTTP front of ``app``, and around it that of ``service``; by default one by the settings."""
    http = Restifier(app)
    service = service or Service.of(app, ServingSettings.read())
    http.flask_app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body_mib * MIB
    _guard(http.flask_app, service)
    _add_health(http.flask_app, service)
    _add_calls(http.flask_app, service)
    add_pages(http.flask_app, service.watch, may_cancel=partial(_may_cancel, service))
    endpoint = ClamsHTTPApi.__name__.lower()  # flask_restful's choice
    http.flask_app.view_functions[endpoint] = _followed(http.flask_app.view_functions[endpoint], service)
    return http


def _state(engine: Engine, admission: Admission) -> str:
    state = engine.state
    if admission.draining and state != "dead":  # the reason for which it drains
        return "draining"
    return "starting" if state == "new" else state


def _may_cancel(service: Service) -> bool:
    return service.access.allows("DELETE", "/calls", request.headers.get("Authorization"))


def _guard(flask_app: Flask, service: Service) -> None:
    @flask_app.before_request
    def check_token() -> Response | None:
        if service.access.allows(request.method, request.path, request.headers.get("Authorization")):
            return None
        response = complaint(401, "This needs a token: Authorization: Bearer TOKEN. The operator of the server has it.")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response


def _add_health(flask_app: Flask, service: Service) -> None:
    @flask_app.get("/health/live")
    def live() -> Response:
        return jsonify(status="live")

    @flask_app.get("/health/ready")
    def ready() -> Response:
        if service.state != "ready":
            return _unavailable(service)
        load = {bound.name: {"value": bound.value, "limit": bound.limit} for bound in service.admission.bounds()}
        return jsonify(status="ready", model=service.engine.model.record, load=load)


def _add_calls(flask_app: Flask, service: Service) -> None:
    @flask_app.get("/calls")
    def calls() -> Response:
        return jsonify(service.calls.described())

    @flask_app.delete("/calls/<id_>")
    def delete_call(id_: str) -> Response:
        if not service.calls.cancel(id_, Reason.DELETED):
            return complaint(404, f"There is no call {id_} in flight; GET /calls lists those there are.")
        return jsonify(id=id_, status="cancelled")


def _followed(view: Callable[..., Response], service: Service) -> Callable[..., Response]:
    """Make of the SDK's view one that lets calls in, follows them, and lets them go."""

    @wraps(view)
    def followed(**arguments: Any) -> Response:
        if request.method not in ("POST", "PUT"):
            return view(**arguments)
        try:
            call = _call(service)
            body = _announced(service)
            if service.engine.state != "ready" and not service.admission.draining:
                service.watch.tally.refused("not_ready")
                return _unavailable(service)
            with service.admission.admitted(call, body), call.current():
                logs.call_begins(call, request.content_length)
                response = _answer(view, arguments, call, service)
                logs.call_ends(call, response.status_code)
                service.watch.call_ended(call, response.status_code)
        except WrongHeader as error:
            return complaint(400, str(error))
        except RequestEntityTooLarge:
            return _too_large(service)
        except Draining:
            service.watch.tally.refused("draining")
            return _unavailable(service)
        except Full as full:
            bound = full.bound
            service.watch.tally.refused(bound.name)
            logs.call_refused(bound.name, bound.value, full.retry_after)
            return try_again(str(full), full.retry_after, bound=bound.name, value=bound.value, limit=bound.limit)
        response.headers[CALL_ID] = call.id
        return response

    return followed


def _answer(view: Callable[..., Response], arguments: dict[str, Any], call: RunningCall, service: Service) -> Response:
    try:
        request.get_data().decode()
    except UnicodeDecodeError as error:  # the SDK decodes before it watches for errors
        return Response(f"Invalid input data. The body is not UTF-8: {error}", 500, mimetype="text/plain")
    except RequestEntityTooLarge:  # without having said so beforehand
        return _too_large(service)
    except (ClientDisconnected, OSError, ParseException) as error:
        return complaint(400, f"The body could not be read ({type(error).__name__}); nothing was done.")
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    turn = nullcontext() if call.background else call.precedence.going_first()  # not while it was being sent
    try:
        with turn, service.clients.watching(connection, lambda: call.cancel(Reason.CLIENT_GONE)):
            return view(**arguments)
    except CallCancelled as cancelled:
        status, text = _CANCELLED[cancelled.reason]
        if status == 503:
            return try_again(text, cause=cancelled.reason)
        return complaint(status, text, cause=cancelled.reason)
    except Exception:  # the SDK answers with an error view, unless even that can't be made
        logger.exception("The call failed, and so did telling why in MMIF.")
        return complaint(500, f"The server failed on this input. Its log says why, under the id {call.id}.")


def _call(service: Service) -> RunningCall:
    """
    Make the call that the request's headers ask for.

    :raises WrongHeader: naming the header, what it accepts and what it got
    """
    asked = request.headers.get(PRIORITY, "normal")
    if asked not in ("normal", "background"):
        raise WrongHeader(f"{PRIORITY} must be background, or normal, which is the default; got {asked!r}.")
    limits = [service.settings.call_seconds] if service.settings.call_seconds else []
    if (text := request.headers.get(TIME_LIMIT)) is not None:
        seconds = math.nan
        with suppress(ValueError):
            seconds = float(text)
        if not 0 < seconds < math.inf:
            raise WrongHeader(f"{TIME_LIMIT} must be a number of seconds above 0; got {text!r}.")
        limits.append(seconds)
    return RunningCall(
        seconds=min(limits, default=None),
        background=asked == "background",
        precedence=service.engine.precedence,
    )


def _announced(service: Service) -> int:
    """
    Return how many bytes the body is going to have.

    :raises RequestEntityTooLarge: if that is too many
    """
    limit = service.settings.max_body_mib * MIB
    if (length := request.content_length or 0) > limit:
        raise RequestEntityTooLarge
    chunked = request.headers.get("Transfer-Encoding") is not None
    return limit if chunked else length


def _too_large(service: Service) -> Response:
    text = f"The body is larger than {service.settings.max_body_mib} MiB, the most that this server takes."
    return complaint(413, f"{text} Send fewer views or documents, or ask the operator for more (--max-body-mib).")


def _unavailable(service: Service) -> Response:
    state = service.state
    who = "The server" if state == "draining" else "The engine"
    return try_again(f"{who} is {state}; nothing was done. Try again later.", state=state)
