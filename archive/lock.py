"""One backfill at a time on one output folder."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archive.ledger import FOLDER

_TRIES = 5  # whoever asks whether the folder is locked holds the lock, too, for a moment
_PAUSE_SECONDS = 0.1


class Locked(RuntimeError):
    """Another backfill is at work on the output folder. Seen by the operator."""


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """
    Keep others out of an output folder. The system lets go of the lock when the process ends, whatever ends it.

    :raises Locked: if another process has it, naming it
    """
    file = output / FOLDER / "lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _taken(descriptor):
            who = _read(file)
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(who.get("since")))
            raise Locked(
                f"Another backfill is at work on {output}: process {who.get('pid', '?')} on "
                f"{who.get('host', 'some host')}, since {since}. `backfill.py status {output}` shows how it gets on."
            )
        os.truncate(descriptor, 0)
        os.write(descriptor, json.dumps(_myself()).encode())
        yield
    finally:
        os.close(descriptor)


def is_locked(output: Path) -> bool:
    """Whether a backfill is at work on an output folder."""
    file = output / FOLDER / "lock"
    if not file.exists():
        return False
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _taken(descriptor: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def _myself() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(file.read_text()))
    return {}
