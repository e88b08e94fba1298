"""
What has become of each file of a backfill: a SQLite database in the output folder, open to any reader.

``OUTPUT/.backfill/ledger.sqlite``, in WAL mode, so that readers and the one writer do not wait for each other. Every
change is on disk when the method that makes it returns, and a file is ``done`` only after its output is.

Table ``files``, one row for each file, for ever:

===================== =================================================================================================
path                  of the output, relative to the output folder, with ``/`` (primary key)
source                path of the input, absolute, or its URL; bytes of it that are not UTF-8 as ``\\xe4``
run                   id of the last run that was asked to do it, in ``runs``
state                 ``waiting``, ``running``, ``done`` or ``failed``
attempts              how many times it was begun
worker                who did it: ``local``, a server's address, a Ray actor's name; NULL if it is not done
input_bytes           size of the input, and
input_mtime_ns        time of its last change in ns since 1970: while both stay the same the input is not read again;
                      NULL where whoever has it doesn't say, and it is read each time
input_digest          SHA-256 of the input, hexadecimal
parameters_digest     of what was asked: ``2:`` and SHA-256 of what captions depend on, see :mod:`archive.digest`
output_bytes          size of the output
time_frames           distinct TimeFrames that some pass selected
prompts               prompts over all passes; where a server did it, those with a caption
captions              captions in the output, of this backfill's views
frames                pictures shown to the model, each counted once however many passes saw it
prompt_tokens         tokens of all prompts, frames included; NULL where a server did not say, as are the next two
cached_tokens         how many of these the engine had computed before
completion_tokens     tokens of all captions
started               when it was begun last, in seconds since 1970
seconds               that took
cause                 one or two words for what is wrong with a failed file: see :data:`archive.records.Cause`
error                 the same in full; of a file that waits, why it was not done the last time
===================== =================================================================================================

Table ``warnings``, in the order in which they were said: ``path``, ``pass`` (the pass's name), ``text``.

Table ``runs``, one row for each start of the command:

===================== =================================================================================================
id                    counts up from 1
began, heard          when it began and when it last gave a sign of life (every few seconds), in seconds since 1970
ended                 the same; NULL while it runs, or if it was killed
outcome               ``complete``, ``incomplete`` (some files failed), ``interrupted`` (by a signal) or ``stopped`` (by
                      something that leaves no file a chance, such as a full disk)
host, pid             where it runs
command               its arguments, a JSON list
plan                  its passes, a JSON list of ``{"name": ..., "parameters": {...}}``
model                 what captions, as ``id@revision``
prompts, busy         prompts answered, and the seconds in which some were in flight: the measured rate
live                  what the display shows, a JSON object
===================== =================================================================================================

In an output, the views of a pass have the pass's name in their metadata, as ``pass``.
"""

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from archive.folders import printable
from archive.records import Counts, FileRecord, Outcome, Result, RunRecord, State
from captioning.urls import Source

FOLDER = ".backfill"
VERSION = 1  # of the schema

_SCHEMA = """
CREATE TABLE files (
    path TEXT PRIMARY KEY, source TEXT NOT NULL, run INTEGER NOT NULL REFERENCES runs (id),
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0, worker TEXT,
    input_bytes INTEGER, input_mtime_ns INTEGER, input_digest TEXT, parameters_digest TEXT, output_bytes INTEGER,
    time_frames INTEGER, prompts INTEGER, captions INTEGER, frames INTEGER,
    prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER,
    started REAL, seconds REAL, cause TEXT, error TEXT
) WITHOUT ROWID;
CREATE INDEX files_by_state ON files (run, state);
CREATE TABLE warnings (path TEXT NOT NULL REFERENCES files (path), pass TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX warnings_by_path ON warnings (path);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, began REAL NOT NULL, heard REAL NOT NULL, ended REAL, outcome TEXT,
    host TEXT NOT NULL, pid INTEGER NOT NULL, command TEXT NOT NULL, plan TEXT NOT NULL, model TEXT NOT NULL,
    prompts INTEGER NOT NULL DEFAULT 0, busy REAL NOT NULL DEFAULT 0, live TEXT NOT NULL DEFAULT '{}'
);
"""


class LedgerError(RuntimeError):
    """The ledger can't be used. Seen by the operator."""


_COLUMNS = ", ".join(column.name for column in fields(FileRecord))
_RUN_COLUMNS = ", ".join(column.name for column in fields(RunRecord))
_PAGE = 1000  # rows in memory at once
_COUNTED = ("time_frames", "prompts", "captions", "frames", "prompt_tokens", "cached_tokens", "completion_tokens")


class Ledger:
    """
    The ledger of an output folder. Thread-safe; one process writes, any number read.

    :param output: the output folder
    :param read_only: to look at, as ``status`` does
    :raises LedgerError: if there is none to look at, or it can't be read
    """

    def __init__(self, output: Path, *, read_only: bool = False) -> None:
        self.file = output / FOLDER / "ledger.sqlite"
        self.read_only = read_only
        self._lock = threading.RLock()
        if read_only and not self.file.is_file():
            raise LedgerError(f"There is no backfill in {output}: {self.file} does not exist.")
        if not read_only:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._open(read_only)
        except sqlite3.Error as error:
            raise LedgerError(f"The ledger {self.file} can't be used: {error}.") from error

    def _open(self, read_only: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION) or (read_only and not version):
                raise LedgerError(
                    f"The ledger {self.file} is of version {version}; this program writes version {VERSION}. Finish "
                    "the backfill with the program that began it, or name another output folder."
                )
            if read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                if not version:
                    connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Runs.

    def begin_run(self, command: Sequence[str], plan: Sequence[dict[str, Any]], model: str) -> int:
        """Note that a run has begun, and return its id; what one that was killed had begun waits again."""
        now = time.time()
        with self._transaction():
            self._connection.execute("UPDATE files SET state = 'waiting' WHERE state = 'running'")
            cursor = self._connection.execute(
                "INSERT INTO runs (began, heard, host, pid, command, plan, model) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, now, socket.gethostname(), os.getpid(), json.dumps(list(command)), json.dumps(list(plan)), model),
            )
        return int(cursor.lastrowid or 0)

    def beat(self, run: int, prompts: int, busy: float, live: dict[str, Any]) -> None:
        """Note how a run gets on."""
        self._execute(
            "UPDATE runs SET heard = ?, prompts = ?, busy = ?, live = ? WHERE id = ?",
            (time.time(), prompts, busy, json.dumps(live), run),
        )

    def end_run(self, run: int, outcome: Outcome) -> None:
        """Note that a run has ended."""
        self._execute("UPDATE runs SET heard = ?1, ended = ?1, outcome = ?2 WHERE id = ?3", (time.time(), outcome, run))

    def runs(self) -> list[RunRecord]:
        """Return all runs, the first one first."""
        rows = self._query(f"SELECT {_RUN_COLUMNS} FROM runs ORDER BY id")
        return [_run_record(row) for row in rows]

    # Files.

    def register(self, run: int, files: Iterable[tuple[str, Source]]) -> None:
        """Add the files that a run is asked to do, pairs of ``path`` and ``source``; those known keep their state."""
        rows = ((path, printable(source), run) for path, source in files)
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO files (path, source, run) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (path) DO UPDATE SET source = ?2, run = ?3",
                rows,
            )

    def begin(self, path: str) -> None:
        """Note that a file is being worked on."""
        self._execute(
            "UPDATE files SET state = 'running', attempts = attempts + 1, started = ? WHERE path = ?",
            (time.time(), path),
        )

    def put_back(self, path: str, error: str | None = None) -> None:
        """Note that a file waits again, for a reason that is not its own."""
        self._execute("UPDATE files SET state = 'waiting', error = ? WHERE path = ?", (error, path))

    def touch(self, path: str, mtime_ns: int | None) -> None:
        """Note that an input has another time of change, its content being the same."""
        self._execute("UPDATE files SET input_mtime_ns = ? WHERE path = ?", (mtime_ns, path))

    def rename_digest(self, path: str, digest: str) -> None:
        """Note that what was asked of a file has another digest, being the same."""
        self._execute("UPDATE files SET parameters_digest = ? WHERE path = ?", (digest, path))

    def digests_by_run(self) -> Iterator[tuple[RunRecord, list[str]]]:
        """Yield the runs, each with the digests of what was asked of those files that were begun in it and ended."""
        runs = self.runs()
        for run, next_ in zip(runs, [*runs[1:], None]):
            rows = self._query(
                "SELECT DISTINCT parameters_digest FROM files WHERE state IN ('done', 'failed') "
                "AND started >= ? AND started < ? AND parameters_digest IS NOT NULL",
                (run.began, next_.began if next_ else float("inf")),
            )
            yield run, [digest for (digest,) in rows]

    def finish(self, result: Result) -> None:
        """Note what has come of a file, all of it or nothing."""
        stamp = result.stamp
        values = {
            "state": "failed" if result.cause else "done",
            "worker": result.worker,
            "input_bytes": stamp and stamp.size,
            "input_mtime_ns": stamp and stamp.mtime_ns,
            "input_digest": stamp and stamp.digest,
            "parameters_digest": result.parameters,
            "output_bytes": result.output_bytes,
            "seconds": result.seconds,
            "cause": result.cause,
            "error": result.error,
            **asdict(result.counts),
        }
        changes = ", ".join(f"{name} = :{name}" for name in values)
        warnings = [(result.path, name, text) for name, text in result.warnings]
        with self._transaction():
            self._connection.execute(f"UPDATE files SET {changes} WHERE path = :path", {**values, "path": result.path})
            self._connection.execute("DELETE FROM warnings WHERE path = ?", (result.path,))
            self._connection.executemany("INSERT INTO warnings (path, pass, text) VALUES (?, ?, ?)", warnings)

    def record(self, path: str) -> FileRecord | None:
        """Return what is known of a file."""
        rows = self._query(f"SELECT {_COLUMNS} FROM files WHERE path = ?", (path,))
        return FileRecord(*rows[0]) if rows else None

    def records(self, *states: State, run: int | None = None) -> Iterator[FileRecord]:
        """Yield what is known of all files, in the order of their paths; only those in ``states`` and of ``run``."""
        where, values = _where(states, run)
        following = f"{where} AND" if where else "WHERE"
        last = ""
        while rows := self._query(
            f"SELECT {_COLUMNS} FROM files {following} path > ? ORDER BY path LIMIT {_PAGE}", [*values, last]
        ):
            yield from (FileRecord(*row) for row in rows)
            last = rows[-1][0]

    def warnings(self, path: str | None = None) -> Iterator[tuple[str, str, str]]:
        """Yield the warnings, of one file or all, as ``path``, ``pass`` and ``text``."""
        where = "WHERE path = ?" if path is not None else ""
        values = (path,) if path is not None else ()
        yield from self._query(f"SELECT path, pass, text FROM warnings {where} ORDER BY path, rowid", values)

    def count_warnings(self) -> int:
        """Count all warnings."""
        return int(self._query("SELECT count(*) FROM warnings")[0][0])

    def states(self, run: int | None = None) -> dict[State, int]:
        """Count the files in each state; only those of ``run``."""
        where, values = _where((), run)
        found = dict(self._query(f"SELECT state, count(*) FROM files {where} GROUP BY state", values))
        return {state: found.get(state, 0) for state in ("waiting", "running", "done", "failed")}

    def totals(self, run: int | None = None) -> Counts:
        """Add up the counts of the files that are done; only those of ``run``."""
        where, values = _where(("done",), run)
        sums = ", ".join(f"sum({name})" for name in _COUNTED)
        (row,) = self._query(f"SELECT {sums} FROM files {where}", values)
        known = dict(zip(_COUNTED, row))
        return Counts(**{name: value or 0 if not name.endswith("tokens") else value for name, value in known.items()})

    def _execute(self, statement: str, values: Sequence[Any]) -> None:
        with self._lock:
            self._connection.execute(statement, values)

    def _query(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise


def _where(states: Sequence[State], run: int | None) -> tuple[str, list[Any]]:
    conditions, values = [], list[Any]()
    if states:
        conditions.append(f"state IN ({', '.join('?' * len(states))})")
        values.extend(states)
    if run is not None:
        conditions.append("run = ?")
        values.append(run)
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _run_record(row: Sequence[Any]) -> RunRecord:
    known = dict(zip((column.name for column in fields(RunRecord)), row))
    return RunRecord(**known | {name: json.loads(known[name]) for name in ("command", "plan", "live")})
