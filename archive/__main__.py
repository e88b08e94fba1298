"""``python -m archive``: the report on a folder of output MMIFs, and exports of their captions."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from archive.exports import FORMATS, export
from archive.report import ReportError, write


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Make or update a report, or export.

    :param arguments: the command line without the program's name; ``sys.argv``'s if ``None``
    :returns: the exit code: 0, or 1 if some files can't be read or nothing could be written
    """
    parser = argparse.ArgumentParser(
        prog="python -m archive",
        description="Show the captions of a folder of output MMIFs as HTML pages, or export them. Needs no engine.",
    )
    parser.add_argument("outputs", metavar="OUTPUTS", type=Path, help="a folder of MMIF files, or one file")
    parser.add_argument("target", metavar="TARGET", type=Path, help="folder for the report, or for the exports")
    parser.add_argument("--no-pictures", action="store_true", help="do not read the videos")
    parser.add_argument(
        "--export", nargs="+", choices=FORMATS, metavar="FORMAT", help=f"export instead: {', '.join(FORMATS)}"
    )
    parsed = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True) as display:
            task = display.add_task("Exporting" if parsed.export else "Reporting", total=None)
            broken, said = _run(parsed, lambda done, total: display.update(task, completed=done, total=total))
    except (ReportError, OSError) as error:
        console.print(f"python -m archive: {error}", markup=False)
        return 1
    for path, reason in broken:
        console.print(f"{path}: {reason}", markup=False)
    console.print(said, markup=False)
    return 1 if broken else 0


def _run(parsed: argparse.Namespace, progress: Callable[[int, int], None]) -> tuple[tuple[tuple[str, str], ...], str]:
    if parsed.export:
        exported = export(parsed.outputs, parsed.target, parsed.export, progress=progress)
        return exported.broken, f"Captions exported to {parsed.target}: {exported.captions}"
    made = write(parsed.outputs, parsed.target, pictures=not parsed.no_pictures, progress=progress)
    return made.broken, f"Files: {made.files}, new or changed: {made.made}. Captions: {made.captions}. {made.index}"


if __name__ == "__main__":
    sys.exit(main())
