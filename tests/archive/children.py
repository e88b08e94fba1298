"""Backfills in processes of their own, which can be killed and interrupted."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from archive.ledger import Ledger, LedgerError
from archive.records import FileRecord

ROOT = Path(__file__).parent.parent.parent


class Child:
    """
    ``backfill.py in out`` in the folder ``work``, with its plan.

    :param options: further ones of the command
    """

    def __init__(self, work: Path, *options: str) -> None:
        self.output = work / "out"
        self.log = work / "log.txt"
        self.attempts = sum(record.attempts for record in self.records().values())  # before this one
        self.done = self.count("done")
        command = [sys.executable, str(ROOT / "backfill.py"), "in", "out", "--plan", "plan.yaml", "--parallel", "6"]
        with self.log.open("w") as log:
            # In a group of its own, which can be signalled as a terminal does.
            self.process = subprocess.Popen([*command, *options], cwd=work, stderr=log, start_new_session=True)

    def records(self) -> dict[str, FileRecord]:
        """What the ledger says now."""
        with contextlib.suppress(LedgerError, sqlite3.Error), Ledger(self.output, read_only=True) as ledger:
            return {record.path: record for record in ledger.records()}
        return {}  # it has not got so far

    def count(self, state: str) -> int:
        return sum(record.state == state for record in self.records().values())

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so while it runs."""
        while not reached():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)

    def until_begun(self, done: int = 0) -> None:
        """Wait until it has begun a file, and so many more are done than were before it."""
        self.until(lambda: sum(r.attempts for r in self.records().values()) > self.attempts)
        self.until(lambda: self.count("done") >= self.done + done)

    def until_said(self, text: str) -> None:
        self.until(lambda: text in self.log.read_text())


@contextlib.contextmanager
def child(work: Path, *options: str) -> Iterator[Child]:
    """Start one; whatever happens, it ends with the block."""
    made = Child(work, *options)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
