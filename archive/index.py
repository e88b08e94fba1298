"""
The index of a report, and what it knows of each file.

What the index searches lies beside it in ``data/``, in scripts of about a megabyte, since a page that was opened from a
folder may load scripts of that folder and nothing else. A line there is one file::

    report.file({"key": ..., "stamp": ..., "path": ..., ...}, [{"anchor": ..., "captions": [...], ...}, ...]);

The next run reads these lines again, so that they are also the memory of what need not be done again. Scripts are named
after their content: those of an older index stand until the newer one does.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from archive.output import atomic
from archive.pages import marks_of, render_index, when
from archive.sheet import Remark, Row, Sheet

PAGE = "index.html"
DATA = "data"
_CHUNK = 1_000_000  # characters
_BEGIN, _END = "report.file(", ");"
_decoder = json.JSONDecoder()


@dataclass(frozen=True)
class Record:
    """
    What the index knows of a file.

    :param about: ``key``: its path as an address, relative to the outputs; ``stamp``: what it was made of; ``path`` and
        ``folder``: its path as people read it; ``sheet``: address of its sheet, empty if it has none; ``problem``: why;
        ``captions``: how many; ``pictures``: whether its videos were to be read; ``lost``: what was seen of those that
        could not; ``remarks``: warnings that name no segment of it
    :param line: all of it and its rows, as it stands in ``data/``
    """

    about: Mapping[str, Any]
    line: str

    @classmethod
    def of(cls, about: Mapping[str, Any], sheet: Sheet | None = None) -> "Record":
        """Make the record of a file; of one that can't be read, without a sheet."""
        own = {remark for row in sheet.rows for remark in row.remarks} if sheet else set()
        remarks = [remark for remark in sheet.remarks if remark not in own] if sheet else []
        whole = {**about, "remarks": [_remark(remark) for remark in remarks]}
        rows = [_row(row) for row in sheet.rows] if sheet else []
        return cls(whole, f"{_BEGIN}{_json(whole)}, {_json(rows)}{_END}")


def load(target: Path) -> dict[str, Record]:
    """Read what the index in ``target`` knows, by key; what can't be read is not known."""
    known: dict[str, Record] = {}
    for chunk in sorted((target / DATA).glob("*.js")):
        for line in chunk.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                about, _ = _decoder.raw_decode(line, len(_BEGIN))
                known[about["key"]] = Record(about, line)
            except (ValueError, TypeError, KeyError):
                continue
    return known


def save(target: Path, title: str, records: Iterable[Record]) -> None:
    """
    Write the index.

    :param records: in the order in which files are listed
    :raises OSError: if it can't be written; what stood there stands
    """
    (target / DATA).mkdir(parents=True, exist_ok=True)
    records = list(records)
    chunks = [_write(target / DATA, chunk) for chunk in _chunks(records)]
    contents = {
        "chunks": [f"{DATA}/{name}" for name in chunks],
        "files": len(records),
        "captions": sum(record.about["captions"] for record in records),
    }
    problems = [(record.about["path"], record.about["problem"]) for record in records if record.about["problem"]]
    with atomic(target / PAGE) as page:
        page.write(render_index(title, contents, problems, datetime.now().strftime("%d %B %Y, %H:%M")))
    for old in (target / DATA).glob("*.js"):
        if old.name not in chunks:
            old.unlink()


def _chunks(records: Iterable[Record]) -> Iterable[str]:
    lines: list[str] = []
    size = 0
    for record in records:
        lines.append(record.line)
        size += len(record.line)
        if size >= _CHUNK:
            yield "\n".join(lines)
            lines, size = [], 0
    if lines:
        yield "\n".join(lines)


def _write(folder: Path, chunk: str) -> str:
    name = hashlib.sha256(chunk.encode()).hexdigest()[:16] + ".js"
    if not (folder / name).exists():
        with atomic(folder / name) as file:
            file.write(chunk)
    return name


def _row(row: Row) -> dict[str, Any]:
    return {
        "anchor": row.anchor,
        "when": when(row),
        "label": row.label,
        "pictured": bool(row.preview),
        "captions": [
            {
                "pass": caption.pass_name,
                "text": caption.text,
                "marks": [{"text": mark.text, "flag": mark.flag} for mark in marks],
                "flags": [mark.text for mark in marks if mark.flag],
                "confidence": caption.confidence,
            }
            for caption in row.captions
            for marks in [marks_of(caption)]
        ],
        "remarks": [_remark(remark) for remark in row.remarks],
    }


def _remark(remark: Remark) -> dict[str, str]:
    return {"pass": remark.pass_name, "kind": remark.kind, "text": remark.text}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
