"""The unit of work: one file, through all passes, to an output that is whole, and what the ledger is to know of it."""

import errno
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from archive.folders import printable
from archive.inputs import Job
from archive.output import atomic
from archive.records import Cause, Counts, Result, Stamp
from captioning.urls import content_of, status_of

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # is told how many prompts of how many are done

# Not the file's fault, and no other would fare better: a share is gone, or this process has too many files open.
_OUT_OF_REACH = frozenset({errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.EMFILE, errno.ENFILE})
_NOT_WRITABLE = _OUT_OF_REACH | {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
    *(errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO),
}


class FileFailed(RuntimeError):
    """A file can't be done, for a reason of its own. Recorded; the others go on."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Stopped(RuntimeError):
    """Nothing can be done any more, whichever file it is: the disk is full, or nobody is left to caption."""


@dataclass(frozen=True)
class Captioned:
    """
    A file with its captions.

    :param mmif: as JSON
    :param warnings: pairs of a pass's name and what it said
    :param worker: who did it: ``local``, a server's address, a Ray actor's name
    """

    mmif: str
    counts: Counts
    warnings: tuple[tuple[str, str], ...]
    worker: str


class Captioner(Protocol):
    """What turns a MMIF into one with captions; thread-safe."""

    def caption(self, mmif: str, progress: Progress) -> Captioned:
        """
        Caption one MMIF in all passes.

        :raises FileFailed: if this one can't be captioned
        :raises Stopped: if none can be any more
        """


def do(job: Job, captioner: Captioner, parameters: str, progress: Progress) -> Result:
    """
    Caption one file and write its output. What goes wrong with the file is in the result.

    :param parameters: digest of what is asked, for the ledger
    :raises Stopped: if nothing can be done any more
    """
    began = time.monotonic()
    stamp: Stamp | None = None
    try:
        content, stamp = _read(job)
        captioned = captioner.caption(_decoded(job, content), progress)
        size = _write(job, captioned.mmif)
    except FileFailed as error:
        return Result(job.path, parameters, time.monotonic() - began, stamp, cause=error.cause, error=str(error))
    except Stopped:
        raise
    except Exception as error:
        logger.exception("%s failed for a reason that nobody thought of.", job.source)
        said = f"{type(error).__name__}: {error}"
        return Result(job.path, parameters, time.monotonic() - began, stamp, cause="error", error=said)
    return Result(
        job.path,
        parameters,
        time.monotonic() - began,
        stamp,
        worker=captioned.worker,
        output_bytes=size,
        counts=captioned.counts,
        warnings=captioned.warnings,
    )


def stamp_of(job: Job) -> Stamp:
    """
    Read a job's input for what identifies it.

    :raises FileFailed: if it can't be read
    :raises Stopped: if no other could be
    """
    return _read(job)[1]


def check_name(job: Job) -> None:
    """
    See whether a job's input has a name that the ledger, and whoever reads it, can be told.

    :raises FileFailed: if it hasn't
    """
    if (shown := printable(job.source)) != str(job.source):
        raise FileFailed("input", f"{shown} can't be done: its name is not UTF-8; rename it.")


def _read(job: Job) -> tuple[bytes, Stamp]:
    check_name(job)
    try:
        status = status_of(job.source)  # before the content: a change meanwhile is noticed the next time
        content = content_of(job.source)
    except OSError as error:
        said = f"{job.source} can't be read: {error.strerror or error}."
        if isinstance(job.source, Path) and error.errno in _OUT_OF_REACH:
            raise Stopped(f"{said} Mount its folder again, or mend it, and start the same command again.") from error
        raise FileFailed("input", said) from error
    size = len(content) if status.size is None else status.size
    return content, Stamp(size, status.mtime_ns, hashlib.sha256(content).hexdigest())


def _decoded(job: Job, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise FileFailed("mmif", f"{job.source} is not UTF-8, so it is not MMIF: {error}.") from error


def _write(job: Job, mmif: str) -> int:
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(job.target) as file:
            file.write(mmif)
    except OSError as error:
        said = f"{printable(job.target)} can't be written: {error.strerror or error}."
        if error.errno in _NOT_WRITABLE:
            raise Stopped(f"{said} Make room, or mend it, and start the same command again.") from error
        raise FileFailed("output", said) from error
    return len(mmif.encode())
