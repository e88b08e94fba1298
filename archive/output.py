"""Files that appear under their name only when they are whole and on disk."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_LONGEST_NAME = 200  # bytes of the target's name in the temporary one; file systems take 255 in all


@contextlib.contextmanager
def atomic(target: Path) -> Iterator[TextIO]:
    """
    Open ``target`` for writing as UTF-8. The text goes into a file beside it, which takes its name at the end of the
    ``with`` block, synced, as is the folder. If the block, or the writing, fails, what stood there stands.

    Whatever kills the process in between leaves at most a file that :func:`remove_parts` finds.

    :raises OSError: if it can't be written
    """
    part = target.parent / f"{_prefix(target)}{secrets.token_hex(4)}.part"
    try:
        with part.open("x", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def remove_parts(target: Path) -> None:
    """Remove what a process that was killed while it wrote ``target`` has left."""
    left = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{8}\.part")
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir(target.parent)):
            if left.fullmatch(entry.name):
                Path(entry.path).unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    return f".{os.fsdecode(os.fsencode(target.name)[:_LONGEST_NAME])}."


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
