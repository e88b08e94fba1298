"""Archives of small files about one broadcast, and outputs without what differs from run to run."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from archive.ledger import Ledger
from archive.records import FileRecord
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast

Run = Callable[..., int]

PLAN = """
passes:
  - name: first
    prompt: Describe.
    tfSamplingMode: single
  - preset: slate
    tfSamplingMode: single
  - name: third
    prompt: Name the card.
    tfSamplingMode: single
    tfLabels: [chyron, credits, programme]
"""


def make_archive(folder: Path, broadcast: Broadcast, files: int, time_frames: int = 2) -> list[str]:
    """Write so many MMIF files, each with other TimeFrames; returns their paths in the folder."""
    whole = json.loads(swt_mmif(broadcast))
    every = whole["views"][1]["annotations"]
    paths = []
    for number in range(files):
        whole["views"][1]["annotations"] = [every[(number + further) % len(every)] for further in range(time_frames)]
        path = f"{number % 4}/{number:03}.mmif"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(whole))
        paths.append(path)
    return sorted(paths)


def outputs(folder: Path) -> dict[str, str]:
    """Every file below a folder, the ledger's left out, its bytes without time stamps and durations."""
    found = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        if file.is_file() and path.parts[0] != ".backfill":
            found[path.as_posix()] = re.sub(r'"(timestamp|runningTime)": "[^"]*"', r'"\1": ""', file.read_text())
    return found


def records(output: Path = Path("out")) -> dict[str, FileRecord]:
    """All that the ledger knows of the files of a backfill."""
    with Ledger(output, read_only=True) as ledger:
        return {record.path: record for record in ledger.records()}
