"""The table of docs/parameters.md, from the app's metadata. ``python -m scripts.parameters_table`` writes it."""

import json
import os
import subprocess
import sys
from typing import Any

from configuration import PREFIX
from scripts.commands import ROOT
from scripts.pages import DOCS, filled

PAGE = DOCS / "parameters.md"


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| parameter | type | default | meaning |", "|---|---|---|---|"]
    for parameter in published()["parameters"]:
        kind = parameter["type"] + (", may be repeated" if parameter["multivalued"] else "")
        if choices := parameter.get("choices"):
            kind += f": {', '.join(f'`{choice}`' for choice in choices)}"
        text = " ".join(parameter["description"].replace("``", "`").split())
        lines.append(f"| `{parameter['name']}` | {kind} | `{json.dumps(parameter['default'])}` | {text} |")
    return "\n".join(lines) + "\n"


def published() -> dict[str, Any]:
    """Return the metadata as metadata.py prints it, whatever is set here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    command = [sys.executable, "metadata.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def page() -> str:
    """Return docs/parameters.md with a fresh table."""
    return filled(PAGE, "scripts.parameters_table", table())


if __name__ == "__main__":
    PAGE.write_text(page())
