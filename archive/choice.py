"""Which files are left to do: neither done already, nor failed before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from archive.inputs import Job
from archive.ledger import Ledger
from archive.records import FileRecord
from archive.work import FileFailed, check_name, stamp_of
from captioning.urls import Status, status_of


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


def choose(
    jobs: Iterable[Job],
    ledger: Ledger | None,
    parameters: str,
    *,
    retry_failed: bool,
    force: bool,
    former: Mapping[str, str] = MappingProxyType({}),
) -> Choice:
    """
    Choose what is to be done.

    :param ledger: of what has been done; ``None`` if nothing has
    :param parameters: digest of what is asked
    :param retry_failed: also those that failed, and did so with this input and these parameters
    :param force: all
    :param former: digests of an earlier form, and what they are today
    """
    choice = Choice()
    for job in jobs:
        record = ledger.record(job.path) if ledger else None
        status = _status(job)
        if ledger and record and not force and _asked(record, former) == parameters:
            same = _same_input(job, record, status, ledger)
            if same and record.state == "failed" and not retry_failed:
                choice.failed += 1
                continue
            if same and record.state == "done" and _output_stands(job, record):
                choice.unchanged += 1
                if record.parameters_digest != parameters and not ledger.read_only:
                    ledger.rename_digest(job.path, parameters)
                continue
        choice.jobs.append(job)
        choice.sizes[job.path] = status.size or 0
    return choice


def _asked(record: FileRecord, former: Mapping[str, str]) -> str | None:
    known = record.parameters_digest
    return known if known is None else former.get(known, known)


def _status(job: Job) -> Status:
    try:
        check_name(job)
        return status_of(job.source)
    except (OSError, FileFailed):
        return Status(None, None)


def _same_input(job: Job, record: FileRecord, status: Status, ledger: Ledger) -> bool:
    """Compare by size and time, and only where these differ or are not known by content, which takes reading it."""
    if (record.input_bytes, record.input_mtime_ns) == (status.size, status.mtime_ns) and (
        status.mtime_ns is not None or record.input_digest is None
    ):
        return True
    if record.input_bytes != status.size and status.size is not None:
        return False
    try:
        stamp = stamp_of(job)
    except FileFailed:
        return False
    same = stamp.digest == record.input_digest
    if same and stamp.mtime_ns != record.input_mtime_ns and not ledger.read_only:
        ledger.touch(job.path, stamp.mtime_ns)
    return same


def _output_stands(job: Job, record: FileRecord) -> bool:
    try:
        return job.target.stat().st_size == record.output_bytes
    except OSError:
        return False
