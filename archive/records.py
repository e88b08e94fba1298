"""What is known of the files and runs of a backfill, and of what has come of a file; see the tables of the ledger."""

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["waiting", "running", "done", "failed"]
Outcome = Literal["complete", "incomplete", "interrupted", "stopped"]

# What can be wrong with a file. "input": it can't be read. "mmif": it is no MMIF, or one that the app can't use.
# "captions": none of its TimeFrames could be captioned. "server": no server gave a usable answer to it. "output": its
# result can't be written. "engine": the engine, or the worker, ended under it. "error": something unforeseen.
Cause = Literal["input", "mmif", "captions", "server", "output", "engine", "error"]


@dataclass(frozen=True)
class Counts:
    """What a file came to; see the table ``files``."""

    time_frames: int = 0
    prompts: int = 0
    captions: int = 0
    frames: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class Stamp:
    """
    What identifies an input; see the table ``files``.

    :param size: in bytes
    :param mtime_ns: when it was last changed; ``None`` if whoever has it doesn't say
    :param digest: of its content
    """

    size: int
    mtime_ns: int | None
    digest: str


@dataclass(frozen=True)
class Result:
    """
    What has come of one file. Can be pickled, so that a worker elsewhere can send it.

    :param parameters: digest of what was asked
    :param stamp: ``None`` if the input could not be read
    :param output_bytes: size of the output; ``None`` if there is none
    :param warnings: pairs of a pass's name and what it said
    :param cause: ``None`` if the file is done
    :param error: in full
    """

    path: str
    parameters: str
    seconds: float
    stamp: Stamp | None
    worker: str | None = None
    output_bytes: int | None = None
    counts: Counts = field(default_factory=Counts)
    warnings: tuple[tuple[str, str], ...] = ()
    cause: Cause | None = None
    error: str | None = None


@dataclass(frozen=True)
class FileRecord:
    """A row of the table ``files``, its columns as they are called there."""

    path: str
    source: str
    run: int
    state: State
    attempts: int
    worker: str | None
    input_bytes: int | None
    input_mtime_ns: int | None
    input_digest: str | None
    parameters_digest: str | None
    output_bytes: int | None
    time_frames: int | None
    prompts: int | None
    captions: int | None
    frames: int | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    started: float | None
    seconds: float | None
    cause: Cause | None
    error: str | None


@dataclass(frozen=True)
class RunRecord:
    """A row of the table ``runs``, its columns as they are called there, JSON read."""

    id: int
    began: float
    heard: float
    ended: float | None
    outcome: Outcome | None
    host: str
    pid: int
    command: list[str]
    plan: list[dict[str, Any]]
    model: str
    prompts: int
    busy: float
    live: dict[str, Any]
