"""Answers that are no MMIF."""

from typing import Any

from flask import Response, jsonify

RETRY_AFTER_SECONDS = 10  # where nothing is known of how long it will take


def complaint(status: int, text: str, **more: Any) -> Response:
    """Make a JSON answer of an error: its text for people, and ``more`` for programs."""
    response = jsonify(error=text, **more)
    response.status_code = status
    return response


def try_again(text: str, seconds: int = RETRY_AFTER_SECONDS, **more: Any) -> Response:
    """Make the answer 503, with the time after which another try may succeed."""
    response = complaint(503, text, **more)
    response.headers["Retry-After"] = str(seconds)
    return response
