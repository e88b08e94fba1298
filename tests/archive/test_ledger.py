"""The ledger: what it holds, whom it lets in, and what survives a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.ledger import Ledger, LedgerError
from archive.records import Counts, Result, Stamp

ROOT = Path(__file__).parent.parent.parent
COUNTS = Counts(2, 3, 3, 7, 300, 100, 30)
_opened: list[Ledger] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def begun(output: Path, *paths: str) -> tuple[Ledger, int]:
    ledger = Ledger(output)
    _opened.append(ledger)
    run = ledger.begin_run(["in", "out"], [{"name": "slates", "parameters": {"tfLabels": ["slate"]}}], "demo@1")
    ledger.register(run, [(path, Path("/in") / path) for path in paths])
    return ledger, run


def result(path: str, **changes: object) -> Result:
    stamp = Stamp(10, 20, "abc")
    values = {"worker": "local", "output_bytes": 12, "counts": COUNTS}
    return Result(path, "def", 1.5, stamp, **values | changes)  # type: ignore[arg-type]


def test_a_file_from_waiting_to_done(tmp_path: Path) -> None:
    ledger, run = begun(tmp_path, "a.mmif", "sub/b.mmif")
    assert ledger.states() == {"waiting": 2, "running": 0, "done": 0, "failed": 0}
    ledger.begin("a.mmif")
    assert ledger.states(run) == {"waiting": 1, "running": 1, "done": 0, "failed": 0}
    ledger.finish(result("a.mmif", warnings=(("slates", "one"), ("chyrons", "two"))))
    record = ledger.record("a.mmif")
    assert record is not None
    assert (record.state, record.source, record.attempts, record.run) == ("done", "/in/a.mmif", 1, run)
    assert (record.input_bytes, record.input_mtime_ns, record.input_digest) == (10, 20, "abc")
    assert (record.parameters_digest, record.output_bytes, record.seconds) == ("def", 12, 1.5)
    assert (record.time_frames, record.prompts, record.captions, record.frames) == (2, 3, 3, 7)
    assert list(ledger.warnings()) == [("a.mmif", "slates", "one"), ("a.mmif", "chyrons", "two")]
    assert ledger.totals() == COUNTS
    assert [record.path for record in ledger.records("waiting")] == ["sub/b.mmif"]
    assert ledger.record("c.mmif") is None


def test_a_failure_and_the_success_after_it(tmp_path: Path) -> None:
    ledger, _ = begun(tmp_path, "a.mmif")
    ledger.finish(result("a.mmif", cause="mmif", error="no JSON", warnings=(("slates", "old"),), output_bytes=None))
    (failed,) = ledger.records("failed")
    assert (failed.cause, failed.error, failed.output_bytes) == ("mmif", "no JSON", None)
    ledger.begin("a.mmif")
    ledger.finish(result("a.mmif"))
    (done,) = ledger.records()
    assert (done.state, done.cause, done.error) == ("done", None, None)
    assert list(ledger.warnings("a.mmif")) == []


def test_a_file_is_there_once_however_often_it_is_registered(tmp_path: Path) -> None:
    ledger, first = begun(tmp_path, "a.mmif", "b.mmif")
    ledger.finish(result("a.mmif"))
    ledger.close()
    ledger, second = begun(tmp_path, "a.mmif", "c.mmif")
    assert [(r.path, r.state, r.run) for r in ledger.records()] == [
        ("a.mmif", "done", second),
        ("b.mmif", "waiting", first),
        ("c.mmif", "waiting", second),
    ]
    assert ledger.states(second) == {"waiting": 1, "running": 0, "done": 1, "failed": 0}


def test_more_files_than_a_page(tmp_path: Path) -> None:
    paths = [f"{number:05}.mmif" for number in range(2345)]
    ledger, run = begun(tmp_path, *paths)
    assert [record.path for record in ledger.records("waiting", run=run)] == paths


def test_runs(tmp_path: Path) -> None:
    ledger, run = begun(tmp_path)
    ledger.beat(run, 7, 3.5, {"rate": 2})
    (record,) = ledger.runs()
    assert (record.prompts, record.busy, record.live, record.ended) == (7, 3.5, {"rate": 2}, None)
    assert (record.command, record.model, record.pid) == (["in", "out"], "demo@1", os.getpid())
    assert record.plan == [{"name": "slates", "parameters": {"tfLabels": ["slate"]}}]
    ledger.end_run(run, "complete")
    assert (ledger.runs()[0].outcome, ledger.runs()[0].ended) == ("complete", ledger.runs()[0].heard)


def test_what_was_running_when_it_was_killed_waits_again_and_what_was_done_is_done(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from tests.archive.test_ledger import begun, result
ledger, _ = begun(Path({str(tmp_path)!r}), "a.mmif", "b.mmif")
ledger.begin("a.mmif")
ledger.finish(result("a.mmif"))
ledger.begin("b.mmif")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    with Ledger(tmp_path, read_only=True) as reader:
        assert [record.state for record in reader.records()] == ["done", "running"]
    ledger, _ = begun(tmp_path)
    assert [(record.state, record.attempts) for record in ledger.records()] == [("done", 1), ("waiting", 1)]


def test_readers_and_the_writer_do_not_wait_for_each_other(tmp_path: Path) -> None:
    ledger, _ = begun(tmp_path, "a.mmif")
    assert ledger._query("PRAGMA journal_mode") == [("wal",)]
    with Ledger(tmp_path, read_only=True) as reader, ledger._transaction():
        ledger._connection.execute("UPDATE files SET state = 'failed'")
        assert [record.state for record in reader.records()] == ["waiting"]
    with Ledger(tmp_path, read_only=True) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.put_back("a.mmif")


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    ledger, run = begun(tmp_path, "a.mmif")
    with pytest.raises(ZeroDivisionError):
        ledger.register(run, ((f"{1 // number}.mmif", Path("/in")) for number in (1, 0)))
    assert [record.path for record in ledger.records()] == ["a.mmif"]
    ledger.begin("a.mmif")  # the connection can still be used


def test_one_that_is_not_there_or_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no backfill in"):
        Ledger(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    begun(tmp_path)[0].close()
    connection = sqlite3.connect(tmp_path / ".backfill" / "ledger.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="version 99.*writes version 1"):
        Ledger(tmp_path)
    (tmp_path / ".backfill" / "ledger.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError, match="can't be used: file is not a database"):
        Ledger(tmp_path)
