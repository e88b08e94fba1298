"""What ``backfill.py status`` says of an output folder, while a backfill is at work on it or not."""

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from archive.display import duration
from archive.folders import printable
from archive.ledger import Ledger
from archive.lock import is_locked
from archive.records import FileRecord, RunRecord

_FAILURES_LISTED = 10


def as_json(output: Path) -> str:
    """
    Return the state of a backfill for programs.

    :raises LedgerError: if there is none
    """
    with Ledger(output, read_only=True) as ledger:
        run = _last_run(ledger)
        number = run.id if run else None
        state: dict[str, Any] = {
            "at_work": is_locked(output),
            "files": ledger.states(number),
            "counts": asdict(ledger.totals(number)),
            "failed": {record.path: [record.cause, record.error] for record in ledger.records("failed", run=number)},
            "run": asdict(run) if run else None,
        }
    return json.dumps(state, indent=2)


def as_table(output: Path, *, all_failed: bool = False) -> Group:
    """
    Return the state of a backfill for people.

    :param all_failed: list every file that failed
    :raises LedgerError: if there is none
    """
    with Ledger(output, read_only=True) as ledger:
        run = _last_run(ledger)
        number = run.id if run else None
        states, totals = ledger.states(number), ledger.totals(number)
        failed = list(ledger.records("failed", run=number))
        running = list(ledger.records("running", run=number))
        warnings = ledger.count_warnings()
    at_work = is_locked(output)
    table = Table(show_header=False, title=printable(output), title_justify="left")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("State", _state(run, at_work))
    # A run that was killed could not say that its files are in flight no more.
    waiting = states["waiting"] + (0 if at_work else states["running"])
    in_flight = f", {states['running']} in flight" if at_work else ""
    table.add_row("Files", f"{states['done']} done, {states['failed']} failed{in_flight}, {waiting} waiting")
    table.add_row("Captions", f"{totals.captions} of {totals.prompts} prompts, for {totals.time_frames} TimeFrames")
    if warnings:
        table.add_row("Warnings", str(warnings))
    if run and at_work:
        _add_live(table, run, running)
    lines = [Text(run.live["reason"], style="bold")] if run and run.live.get("reason") else []
    shown = failed if all_failed else failed[:_FAILURES_LISTED]
    lines += [Text(f"failed ({record.cause})  {record.path}: {record.error}") for record in shown]
    if len(shown) < len(failed):
        causes = ", ".join(f"{count} {cause}" for cause, count in Counter(r.cause for r in failed).most_common())
        lines.append(Text(f"and {len(failed) - len(shown)} more (in all: {causes}); --failed lists them"))
    return Group(table, *lines)


def _last_run(ledger: Ledger) -> RunRecord | None:
    runs = ledger.runs()
    return runs[-1] if runs else None


def _state(run: RunRecord | None, at_work: bool) -> str:
    if run is None:
        return "never started"
    if at_work:
        began = duration(time.time() - run.began)
        if not run.live:  # it says how it gets on once the engine is there
            return f"starting the engine for {began}, process {run.pid} on {run.host}"
        return f"at work for {began}, process {run.pid} on {run.host}, heard of {duration(time.time() - run.heard)} ago"
    if run.outcome is None:
        return "killed; the same command goes on where it stood"
    return {
        "complete": "complete",
        "incomplete": "done, but for the files that failed; --retry-failed tries them again",
        "interrupted": "interrupted; the same command goes on where it stood",
        "stopped": "stopped; the log says why, and the same command goes on where it stood",
    }[run.outcome]


def _add_live(table: Table, run: RunRecord, running: list[FileRecord]) -> None:
    live = run.live
    if run.busy:
        table.add_row("Rate", f"{run.prompts / run.busy:.2f} prompts/s")
    if live:
        table.add_row("In flight", f"{live['in_flight']} of {live['capacity']} prompts")
        if live["eta"] is not None:
            table.add_row("Left", duration(live["eta"]))
    now = time.time()
    for record in running[:_FAILURES_LISTED]:
        table.add_row("Working on", f"{record.path}, for {duration(now - (record.started or now))}")
