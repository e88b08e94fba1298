"""What an operator sees of a backfill: a live display on a terminal, lines in a log elsewhere, a table at the end."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live as LiveScreen
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from archive.choice import Choice
from archive.records import Counts, FileRecord, Outcome, Result
from archive.run import Display, Live, Progress

logger = logging.getLogger("backfill")

_LINE_SECONDS = 30.0  # between two lines of a log
_FAILURES_LISTED = 10


@contextlib.contextmanager
def display_on(console: Console) -> Iterator[Display]:
    """Show a run on a console: live if it is a terminal, as lines if it is a file or a pipe."""
    if console.is_terminal:
        screen = _Screen(console)
        with LiveScreen(screen, console=console, refresh_per_second=2, transient=True):
            yield screen
    else:
        yield _Lines()


def print_whole(console: Console, what: Group) -> None:
    """Print on a console. No sentence is broken in a file or a pipe, where somebody may look for it."""
    for part in what.renderables:
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)


class _Screen:
    """Drawn anew twice a second; what is said stays above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
        )
        self._bar = Bar(*columns, console=console, expand=True)
        self._files = self._bar.add_task("Files", total=None, eta="")
        self._figures: list[tuple[str, str]] = []

    def __rich__(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        for name, value in self._figures:
            grid.add_row(Text(name, style="dim"), value)
        return Group(self._bar, grid)

    def show(self, progress: Progress, live: Live) -> None:
        done = progress.done + progress.failed
        self._bar.update(self._files, completed=done, total=progress.total, eta=_eta(progress))
        self._figures = figures(progress, live)

    def failed(self, result: Result) -> None:
        self._console.print(Text(f"failed  {result.path}: {result.error}", style="red"))

    def say(self, text: str) -> None:
        self._console.print(Text(text, style="bold"))


class _Lines:
    """Lines of a log: one in a while, and one for each file that failed."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def show(self, progress: Progress, live: Live) -> None:
        if time.monotonic() - self._shown < _LINE_SECONDS:
            return
        self._shown = time.monotonic()
        parts = [f"{name.lower()} {value}" for name, value in figures(progress, live)]
        shown = ", ".join(filter(None, [*parts, _eta(progress)]))
        logger.info("%d of %d files, %s", progress.done + progress.failed, progress.total, shown)

    def failed(self, result: Result) -> None:
        logger.error("failed %s (%s): %s", result.path, result.cause, result.error)

    def say(self, text: str) -> None:
        logger.warning("%s", text)


def figures(progress: Progress, live: Live) -> list[tuple[str, str]]:
    """Return names and values of what changes while a run goes on, for people."""
    seconds = max(progress.seconds, 1e-9)
    engine = "" if live.in_engine is None else f", {live.in_engine} of them in the engine"
    shown = [
        ("Captions", f"{live.captions} of {live.prompts} prompts, {live.captions / seconds:.2f}/s"),
        ("In flight", f"{live.in_flight} of {live.capacity} prompts from {live.files} files{engine}"),
    ]
    if live.tokens is not None:
        shown.append(("Tokens", f"{live.tokens / seconds:.0f}/s"))
    if progress.failed:
        shown.append(("Failed", f"{progress.failed} files"))
    return shown


def summary(outcome: Outcome, choice: Choice, progress: Progress, totals: Counts, failures: list[FileRecord]) -> Group:
    """
    Return the table at the end of a run.

    :param totals: of all files of this run that are done, now or earlier
    :param failures: all files of this run that failed, now or earlier
    """
    table = Table(show_header=False, title=f"Backfill {outcome}", title_justify="left")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rate = f", {progress.done / progress.seconds:.2f} files/s" if progress.done else ""
    rows = [
        ("Files done", f"{progress.done}" + (f", and {choice.unchanged} before" if choice.unchanged else "")),
        ("Files failed", str(len(failures))),
        ("Files left", str(progress.left)),
        ("TimeFrames", str(totals.time_frames)),
        ("Captions", f"{totals.captions} of {totals.prompts} prompts"),
        ("Frames", str(totals.frames)),
        ("Tokens", _tokens(totals)),
        ("Warnings", str(progress.warnings)),
        ("Time", f"{duration(progress.seconds)}{rate}"),
    ]
    for name, value in rows:
        if value not in ("0", ""):
            table.add_row(name, value)
    reason = [Text(progress.reason, style="bold")] if progress.reason else []
    return Group(table, *_failures(failures), *reason)


def _tokens(totals: Counts) -> str:
    if totals.prompt_tokens is None:
        return ""
    cached = f", {totals.cached_tokens} of them computed before" if totals.cached_tokens else ""
    return f"{totals.prompt_tokens} read{cached}; {totals.completion_tokens} written"


def _failures(failures: list[FileRecord]) -> Iterator[Text]:
    if not failures:
        return
    causes = ", ".join(f"{count} {cause}" for cause, count in Counter(r.cause for r in failures).most_common())
    yield Text(f"Failed ({causes}):", style="bold")
    for record in failures[:_FAILURES_LISTED]:
        yield Text(f"  {record.path}: {record.error}")
    if len(failures) > _FAILURES_LISTED:
        yield Text(f"  and {len(failures) - _FAILURES_LISTED} more; `backfill.py status --failed` lists them all")


def _eta(progress: Progress) -> str:
    return "" if progress.eta is None else f"{duration(progress.eta)} left"


def duration(seconds: float) -> str:
    """Write a span of time: ``3 d 4 h``, ``4 h 12 min``, ``2 min 5 s``, ``3.2 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
