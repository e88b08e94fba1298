"""Which files are left to do: neither done already, nor failed before."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from archive.inputs import Job
from archive.ledger import Ledger
from archive.records import FileRecord
from archive.work import FileFailed, stamp_of


@dataclass
class Choice:
    """
    What is to be done.

    :param jobs: in order
    :param sizes: of their inputs in bytes, by path; 0 for one that can't be read
    :param unchanged: how many are done and need not be done again
    :param failed: how many failed before and are not tried again
    """

    jobs: list[Job] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    failed: int = 0


def choose(jobs: Iterable[Job], ledger: Ledger | None, parameters: str, *, retry_failed: bool, force: bool) -> Choice:
    """
    Choose what is to be done.

    :param ledger: of what has been done; ``None`` if nothing has
    :param parameters: digest of what is asked
    :param retry_failed: also those that failed, and did so with this input and these parameters
    :param force: all
    """
    choice = Choice()
    for job in jobs:
        record = ledger.record(job.path) if ledger else None
        size, mtime_ns = _status(job)
        if ledger and record and not force and record.parameters_digest == parameters:
            same = _same_input(job, record, size, mtime_ns, ledger)
            if same and record.state == "failed" and not retry_failed:
                choice.failed += 1
                continue
            if same and record.state == "done" and _output_stands(job, record):
                choice.unchanged += 1
                continue
        choice.jobs.append(job)
        choice.sizes[job.path] = size or 0
    return choice


def _status(job: Job) -> tuple[int | None, int | None]:
    try:
        status = job.source.stat()
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


def _same_input(job: Job, record: FileRecord, size: int | None, mtime_ns: int | None, ledger: Ledger) -> bool:
    """Compare by size and time, and only where these differ by content, which takes reading it."""
    if (record.input_bytes, record.input_mtime_ns) == (size, mtime_ns):
        return True
    if record.input_bytes != size:
        return False
    try:
        stamp = stamp_of(job)
    except FileFailed:
        return False
    if same := stamp.digest == record.input_digest:
        ledger.touch(job.path, stamp.mtime_ns)
    return same


def _output_stands(job: Job, record: FileRecord) -> bool:
    try:
        return job.target.stat().st_size == record.output_bytes
    except OSError:
        return False
