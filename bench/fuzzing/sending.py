"""A case over a socket, and what is wrong with the answer to it."""

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

from bench.fuzzing.cases import Case

HANGS_AFTER = 120  # seconds, in which a busy machine answers anything


@dataclass(frozen=True)
class Answer:
    """
    What came back.

    :param status: 0 if it is no HTTP, or nothing
    :param trouble: what went wrong on the way
    """

    status: int = 0
    kind: str = ""  # the media type
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    trouble: str = ""


def send(case: Case, port: int) -> Answer:
    """Send a case to the server at ``port`` of this machine, and read until it is answered or the server hangs up."""
    method = case.request.partition(b" ")[0].decode("ascii", "replace")
    with socket.create_connection(("127.0.0.1", port), timeout=HANGS_AFTER) as connection:
        # Whoever has seen enough may hang up; its answer is still to come. That there is no connection any more
        # (ENOTCONN) is an OSError and no ConnectionError.
        with contextlib.suppress(OSError):
            connection.sendall(case.request)
            if not case.whole:
                connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection, method=method)
        try:
            response.begin()
            body = response.read()
        except TimeoutError:
            return Answer(trouble=f"no answer in {HANGS_AFTER} s")
        except (http.client.HTTPException, OSError, ValueError) as error:
            return Answer(trouble=f"{type(error).__name__}: {error}")
        kind = response.headers.get_content_type()
        return Answer(response.status, kind, tuple(response.getheaders()), body)


def complaint(case: Case, answer: Answer) -> str:
    """Say what is wrong with an answer; empty if nothing is."""
    if answer.status == 0:
        hung = answer.trouble.startswith("no answer")
        return answer.trouble if hung or case.whole else ""
    if answer.status == 503 and not any(name.lower() == "retry-after" for name, _ in answer.headers):
        return "a 503 that doesn't say when to come back"
    if answer.status >= 500 and not case.head and not _message(answer):
        return f"a {answer.status} without a message"
    if answer.status == 200 and answer.kind == "application/json" and not case.head and _parsed(answer) is None:
        return "a 200 that is not JSON"
    return ""


def _message(answer: Answer) -> str:
    """What an answer says of an error, to a program or to a person; not what a framework says of any error."""
    if answer.kind.startswith("text/"):
        text = answer.body.decode("utf-8", "replace").strip()
        return "" if "The server encountered an internal error" in text else text
    found = _parsed(answer)
    if not isinstance(found, dict):
        return ""
    if "views" in found:
        errors = [view["metadata"].get("error", {}).get("message", "") for view in found["views"]]
        return next((str(message) for message in reversed(errors) if message), "")
    return str(found.get("error") or "")


def _parsed(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        return None
