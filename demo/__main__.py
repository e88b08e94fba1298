"""The demonstration: render a synthetic broadcast, caption it, show what came of it."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from archive.pages import clock, render_sheet
from archive.reading import read_sheet
from archive.sheet import Row
from archive.thumbnails import illustrate
from demo.annotations import swt_mmif
from demo.broadcast import make_segments, render
from sampling.budget import ByteBudget

PARALLEL_PROMPTS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the demonstration.

    :param arguments: the command line without the program's name; ``sys.argv``'s if ``None``
    :returns: the exit code
    """
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Caption a synthetic broadcast on this machine."
    )
    parser.add_argument("--seconds", type=int, default=120, help="length of the broadcast [default: 120]")
    parser.add_argument("--seed", type=int, default=4, help="which broadcast [default: 4]")
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="for the results [default: build/demo]")
    parsed = parser.parse_args(arguments)
    console = Console(stderr=True)
    parsed.folder.mkdir(parents=True, exist_ok=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        rendering = progress.add_task("Rendering the broadcast", total=1)
        segments = make_segments(parsed.seconds, parsed.seed)
        broadcast = render(parsed.folder.resolve() / "broadcast.mp4", segments)
        progress.update(rendering, completed=1)
        captioned, seconds = _caption(swt_mmif(broadcast), progress)
        output, page = parsed.folder / "captions.mmif", parsed.folder / "index.html"
        output.write_text(captioned)
        drawing = progress.add_task("Writing the page", total=1)
        illustrated = illustrate(read_sheet(output), ByteBudget())
        sheet = illustrated.sheet
        page.write_text(render_sheet(sheet, "A synthetic broadcast, captioned", illustrated.lost))
        progress.update(drawing, completed=1)
    Console().print(_table(sheet.rows))
    right = sum(row.captions[0].text == broadcast.expected_caption(row.times) for row in sheet.rows)
    console.print(
        f"{len(sheet.rows)} captions in {seconds:.1f} s, {PARALLEL_PROMPTS} prompts in flight; "
        f"{right} of them say exactly what the frames show."
    )
    console.print(f"Page: {page}    MMIF: {output}")
    return 0


def _caption(mmif: str, progress: Progress) -> tuple[str, float]:
    """Caption a MMIF with the app; returns it with the captions, and the seconds that took once the engine was warm."""
    os.environ["CAPTIONER_MODEL"] = "demo"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a second thread gains a model this small nothing
    from app import get_app  # the environment first: the app names its model when it is made

    starting = progress.add_task("Starting the engine", total=1)
    captioner = get_app()
    captioner.engine.start()
    progress.update(starting, completed=1)
    captioning = progress.add_task("Captioning", total=None)
    captioner.report_progress = lambda done, total: progress.update(captioning, completed=done, total=total)
    try:
        began = time.monotonic()
        captioned = captioner.annotate(mmif, pretty=["true"], parallelPrompts=[str(PARALLEL_PROMPTS)])
        return captioned, time.monotonic() - began
    finally:
        captioner.engine.close()


def _table(rows: Sequence[Row]) -> Table:
    table = Table("time", "label", "caption")
    for row in rows:
        table.add_row(clock(row.times[0]), row.label, row.captions[0].text)
    return table


if __name__ == "__main__":
    sys.exit(main())
