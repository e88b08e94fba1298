"""Log lines: each with the id of the call that it belongs to, as text or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from captioning.running import RunningCall, current

logger = logging.getLogger("serving.calls")

_OURS = ("app", "captioning", "engine", "sampling", "serving")


class CallFilter(logging.Filter):
    """Adds the call's id to every line; ``-`` where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass."""
        call = current()
        record.call = call.id if call else "-"
        return True


class TextFormatter(logging.Formatter):
    """A line for people; the details of a record follow its message as ``name=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s [%(call)s] %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format all but a traceback."""
        details: dict[str, Any] = getattr(record, "details", {})
        return " ".join([super().formatMessage(record), *(f"{name}={value}" for name, value in details.items())])


class JsonFormatter(logging.Formatter):
    """A line that is a JSON object; the details of a record are members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format all of it, a traceback included."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "call": getattr(record, "call", "-"),
            "message": record.getMessage(),
            **getattr(record, "details", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(form: Literal["text", "json"]) -> None:
    """Send the process's log lines to standard error, in this form; those of this project from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(CallFilter())
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in _OURS:
        logging.getLogger(name).setLevel(min(logging.INFO, root.level))


def call_begins(call: RunningCall, body: int | None) -> None:
    """Write the line that a call begins."""
    details = {"priority": call.priority, "seconds": call.seconds, "bytes": body}
    logger.info("Call begins", extra={"details": details})


def call_ends(call: RunningCall, status: int) -> None:
    """Write the line that a call has ended, with an answer of this status."""
    details = {
        "status": status,
        "cancelled": call.reason,
        "seconds": round(call.age, 3),
        "prompts": call.total,
        "done": call.done,
        "captions": call.captions,
        "frames": call.frames,
        "warnings": {str(cause): count for cause, count in sorted(call.warnings.items())},
    }
    logger.info("Call ends", extra={"details": details})


def call_refused(bound: str, value: int, retry_after: int) -> None:
    """Write the line that a call was not let in."""
    logger.info("Call refused", extra={"details": {"bound": bound, "value": value, "retry_after": retry_after}})
