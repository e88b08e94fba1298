"""
Captions for other systems: CSV for spreadsheets, JSON lines for programs, WebVTT for players.

CSV and JSON lines have one caption a line, with the same fields; docs/report.md explains them. WebVTT has a file for
each video and pass, since a player shows one track at a time.
"""

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from archive.output import atomic
from archive.pages import clock
from archive.reading import Output, UnreadableError, find_outputs, read_sheet
from archive.sheet import Caption, Row, Sheet

FORMATS = ("csv", "jsonl", "vtt")
CSV, JSON_LINES, WEBVTT = "captions.csv", "captions.jsonl", "vtt"
SHORTEST_CUE = 1000  # ms; a segment of one frame has no length

_COLUMNS = (
    "file", "video", "pass", "time_frame", "label", "start_ms", "end_ms", "start", "end", "frames_ms", "caption",
    "finish_reason", "mime", "confidence", "lowest_token_probability", "choice_probabilities", "any_choice_probability",
    "marks", "warnings", "model", "prompt", "text_document",
)  # fmt: skip
_LONGEST_NAME = 255  # bytes that file systems take
_LONGEST_STEM = 200  # bytes that are left of a longer one
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Progress = Callable[[int, int], None]  # files done, files in all


@dataclass(frozen=True)
class Exported:
    """
    What has been written.

    :param captions: in all files
    :param broken: path and reason for each file that could not be read
    """

    files: tuple[Path, ...]
    captions: int
    broken: tuple[tuple[str, str], ...]


def export(
    outputs: Path, target: Path, formats: Iterable[str] = FORMATS, *, progress: Progress | None = None
) -> Exported:
    """
    Export the captions of a folder of output MMIFs. Files appear when they are whole, over those of an earlier export.

    :param outputs: a folder of MMIF files, or one file
    :param target: folder for ``captions.csv``, ``captions.jsonl`` and ``vtt/``; may be in ``outputs``
    :param formats: any of :data:`FORMATS`
    :raises ValueError: if there is no such format
    :raises FileNotFoundError: if there is nothing to export
    :raises OSError: if a folder in ``outputs`` can't be read, or the export can't be written
    """
    wanted = list(dict.fromkeys(formats))
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise ValueError(f"There is no export format {', '.join(unknown)}; there are {', '.join(FORMATS)}.")
    found = find_outputs(outputs, target)
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    broken: list[tuple[str, str]] = []
    captions = 0
    with ExitStack() as open_files:
        sinks: list[Callable[[dict[str, Any]], object]] = []
        if "csv" in wanted:
            file = open_files.enter_context(atomic(target / CSV))
            file.write("\ufeff")  # without this mark spreadsheets take UTF-8 for something else
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            sinks.append(lambda fields: table.writerow([_cell(fields[column]) for column in _COLUMNS]))
            written.append(target / CSV)
        if "jsonl" in wanted:
            lines = open_files.enter_context(atomic(target / JSON_LINES))
            sinks.append(lambda fields: lines.write(json.dumps(fields, ensure_ascii=False) + "\n"))
            written.append(target / JSON_LINES)
        for done, output in enumerate(found, start=1):
            try:
                sheet = read_sheet(output.source)
            except (UnreadableError, OSError) as error:
                broken.append((_readable(output.path), str(error)))
                sheet = None
            for fields in records(output, sheet) if sheet else ():
                captions += 1
                for sink in sinks:
                    sink(fields)
            if sheet and "vtt" in wanted:
                written += _write_tracks(output, sheet, target / WEBVTT)
            if progress:
                progress(done, len(found))
    return Exported(tuple(written), captions, tuple(broken))


def records(output: Output, sheet: Sheet) -> Iterator[dict[str, Any]]:
    """Yield the captions of a file, each with all that is known of it."""
    videos = {video.id: video.location for video in sheet.videos}
    passes = {made.name: made for made in sheet.passes}
    for row in sheet.rows:
        start, end = _span(row)
        for caption in row.captions:
            made = passes[caption.pass_name]
            marks = dict(caption.marks)
            yield {
                "file": _readable(output.path),
                "video": videos.get(row.document, row.document),
                "pass": caption.pass_name,
                "time_frame": row.time_frame,
                "label": row.label,
                "start_ms": start,
                "end_ms": end,
                "start": None if start is None else clock(start),
                "end": None if end is None else clock(end),
                "frames_ms": list(row.times),
                "caption": caption.text,
                "finish_reason": marks.pop("finishReason", "stop"),
                "mime": caption.mime,
                "confidence": marks.pop("confidence", None),
                "lowest_token_probability": marks.pop("lowestTokenProbability", None),
                "choice_probabilities": dict(caption.choices),
                "any_choice_probability": marks.pop("anyChoiceProbability", None),
                "marks": marks,
                "warnings": [remark.text for remark in row.remarks],
                "model": made.model,
                "prompt": list(made.prompt),
                "text_document": caption.id,
            }


def _cell(value: Any) -> Any:
    """
    Make a cell of a value. A text that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP
    advises: captions come from whatever stood before a camera.
    """
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _write_tracks(output: Output, sheet: Sheet, folder: Path) -> Iterator[Path]:
    tracks: dict[tuple[str, str], list[tuple[Row, Caption]]] = {}
    for row in sheet.rows:
        for caption in row.captions:
            tracks.setdefault((row.document, caption.pass_name), []).append((row, caption))
    several_videos = len({document for document, _ in tracks}) > 1
    several_passes = len({name for _, name in tracks}) > 1
    used: Counter[str] = Counter()
    path = PurePosixPath(output.path)
    for (document, name), found in tracks.items():
        parts = [document] * several_videos + [name] * several_passes
        stem = ".".join([path.stem, *map(_slug, parts)])
        used[stem] += 1
        number = f"-{used[stem]}" if used[stem] > 1 else ""
        target = folder / path.parent / _file_name(stem, f"{number}.vtt")
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(target) as file:
            file.write("\n\n".join(_track(sheet, document, name, found)) + "\n")
        yield target


def _file_name(stem: str, suffix: str) -> str:
    """Name a file; a stem that file systems take no more is cut, and gets a hash of what it was."""
    known = os.fsencode(stem)
    if len(known) + len(suffix) > _LONGEST_NAME:
        stem = known[:_LONGEST_STEM].decode(errors="ignore") + hashlib.sha256(known).hexdigest()[:8]
    return stem + suffix


def _track(sheet: Sheet, document: str, name: str, found: list[tuple[Row, Caption]]) -> Iterator[str]:
    yield "WEBVTT"
    location = next((video.location for video in sheet.videos if video.id == document), document)
    model = next((made.model for made in sheet.passes if made.name == name), "")
    yield f"NOTE\nvideo: {_line(location)}\npass: {_line(name)}\nmodel: {_line(model)}"
    cues = sorted(((*span, row, caption) for row, caption in found for span in [_span(row)]), key=_place)
    for start, end, row, caption in cues:
        text = _cue_text(caption.text)
        if start is None or end is None or not text:
            yield f"NOTE\nThe caption {_line(caption.id)} has no time, or no text."
            continue
        start = max(0, start)
        yield f"{_line(row.time_frame)}\n{_stamp(start)} --> {_stamp(max(end, start + SHORTEST_CUE))}\n{text}"


def _place(cue: tuple[int | None, int | None, Row, Caption]) -> tuple[bool, int, int]:
    return cue[0] is None, cue[0] or 0, cue[1] or 0


def _span(row: Row) -> tuple[int | None, int | None]:
    return row.span or (min(row.times, default=None), max(row.times, default=None))


def _stamp(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"


def _cue_text(text: str) -> str:
    """Escape a caption; an empty line would end the cue."""
    lines = [line.strip() for line in re.split(r"[\r\n\u2028\u2029]+", text.replace("\0", "\ufffd"))]
    escaped = [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in lines if line]
    return "\n".join(escaped)


def _line(text: str) -> str:
    """Put a text on one line on which it can't be taken for a cue's times."""
    return re.sub("-+->", "->", re.sub(r"\s+", " ", text.replace("\0", "\ufffd"))).strip() or "-"


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")[:40] or "unnamed"


def _readable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
