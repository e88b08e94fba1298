"""What docs/commands.md shows: the commands' own words. ``python -m scripts.command_help`` writes it."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from app import SETTINGS
from scripts.commands import ROOT
from scripts.pages import DOCS, filled

PAGE = DOCS / "commands.md"
COMMANDS = (
    "app.py",
    "cli.py",
    "backfill.py",
    "backfill.py status",
    "backfill.py report",
    "-m archive",
    "-m demo",
    "-m bench",
)
WIDTH = 100
# Options that pages of their own are about, by the headings that argparse puts over them.
ELSEWHERE = {
    "parameters of the app:": "[parameters](parameters.md)",
    **{f"{settings.__name__.removesuffix('Settings').lower()}:": "[settings](settings.md)" for settings in SETTINGS},
}


def blocks() -> str:
    """Return a section for each command in Markdown."""
    with ThreadPoolExecutor() as pool:
        return "".join(pool.map(section, COMMANDS))


def section(command: str) -> str:
    """Return what ``python COMMAND --help`` prints, without usage and without the options that stand elsewhere."""
    done = subprocess.run(
        [sys.executable, *command.split(), "--help"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": str(WIDTH), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    _, *parts = re.split(r"\n\n(?=\S)", done.stdout.strip())
    kept = [part for part in parts if part.partition("\n")[0] not in ELSEWHERE]
    left_out = dict.fromkeys(ELSEWHERE[head] for part in parts if (head := part.partition("\n")[0]) in ELSEWHERE)
    also = f"Further options: {', '.join(left_out)}.\n\n" if left_out else ""
    said = "\n\n".join(kept)
    return f"## python {command}\n\n```text\n{said}\n```\n\n{also}"


def page() -> str:
    """Return docs/commands.md with fresh blocks."""
    return filled(PAGE, "scripts.command_help", blocks())


if __name__ == "__main__":
    PAGE.write_text(page())
