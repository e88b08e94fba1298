"""Whether the parts of the documentation that commands make are what they make now. ``make check`` runs it."""

import sys
from types import ModuleType

from scripts import command_help, context_table, parameters_table, settings_table, sizing_table
from scripts.commands import ROOT

MAKERS: tuple[ModuleType, ...] = (settings_table, parameters_table, command_help, context_table, sizing_table)


def main() -> int:
    """Name the pages that are not up to date; returns the exit status."""
    # On other Pythons, argparse lays its texts out in other ways.
    makers = [maker for maker in MAKERS if maker is not command_help or sys.version_info[:2] == (3, 11)]
    stale = [maker for maker in makers if maker.PAGE.read_text() != maker.page()]
    for maker in stale:
        page = maker.PAGE.relative_to(ROOT)
        print(f"{page} is not what it would be now: run `.venv/bin/python -m {maker.__name__}`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
