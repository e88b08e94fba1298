"""
The report on a folder of output MMIFs: a contact sheet for each file, and an index that searches them all.

::

    REPORT/index.html             the index
    REPORT/data/*.js              what it searches, see archive/index.py
    REPORT/sheets/**/*.html       a sheet for each file, pictures and all in one page
    REPORT/previews/**/*.js       small pictures of a sheet's rows, which the index shows beside what it finds
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from archive.index import PAGE, Record, load, save
from archive.output import atomic
from archive.pages import form, render_sheet
from archive.reading import Output, UnreadableError, find_outputs, read_sheet
from archive.sheet import Sheet
from archive.thumbnails import Illustrated, illustrate
from sampling.video import ByteBudget

SHEETS = "sheets"
PREVIEWS = "previews"
_SUFFIXES = {SHEETS: ".html", PREVIEWS: ".js"}
_LONGEST_NAME = 200  # bytes of a file's name that its sheet's keeps; file systems take 255 in all
MOST_AT_ONCE = 4  # files; each keeps several cores busy while its video is read
SAVE_SECONDS = 60  # a run that is killed goes on from the last time that the index was written

Progress = Callable[[int, int], None]  # files done, files in all


class ReportError(RuntimeError):
    """A report can't be made. Seen by the operator."""


@dataclass(frozen=True)
class Summary:
    """
    What has come of a run.

    :param index: the page to open
    :param files: in the report
    :param made: how many of them were made anew, the others being up to date
    :param removed: sheets of files that are gone
    :param captions: in all files
    :param without_pictures: files of which some video can't be read
    :param broken: path and reason for each file that can't be shown
    """

    index: Path
    files: int
    made: int
    removed: int
    captions: int
    without_pictures: int
    broken: tuple[tuple[str, str], ...]


def write(outputs: Path, target: Path, *, pictures: bool = True, progress: Progress | None = None) -> Summary:
    """
    Make the report, or bring it up to date: only the sheets of files that have changed are made again, and of those
    whose videos have turned up.

    :param outputs: a folder of MMIF files, or one file
    :param target: the folder of the report; may be in ``outputs``
    :param pictures: read the videos; without, sheets are made in milliseconds
    :raises ReportError: if there is nothing to report on, or another process is writing the same report
    :raises OSError: if a folder in ``outputs`` can't be read, or the report can't be written; what stood there can be
        used and gone on from
    """
    try:
        found = find_outputs(outputs, target)
    except FileNotFoundError as error:
        raise ReportError(f"There is no file or folder {outputs} to report on.") from error
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        return _Report(outputs, target, pictures, found).write(progress or (lambda done, total: None))


class _Report:
    def __init__(self, outputs: Path, target: Path, pictures: bool, found: list[Output]) -> None:
        self.title = outputs.resolve().name
        self.target = target
        self.pictures = pictures
        self.outputs = {quote(os.fsencode(output.path)): output for output in found}
        self.form = form()
        self.budget = ByteBudget()
        self.known = load(target)

    def write(self, progress: Progress) -> Summary:
        records = {key: self.known[key] for key in self.outputs if key in self.known}
        todo = [key for key in self.outputs if key not in records or not self._is_fresh(key, records[key].about)]
        done, total = len(self.outputs) - len(todo), len(self.outputs)
        progress(done, total)
        saved = time.monotonic()
        try:
            for key, record in _each(self._make, todo):
                records[key] = record
                done += 1
                progress(done, total)
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save(records)
                    saved = time.monotonic()
        finally:
            self._save(records)
        gone = [record for key, record in self.known.items() if key not in self.outputs]
        for record in gone:
            self._remove(unquote_to_bytes(record.about["key"]))
        about = [records[key].about for key in self.outputs]
        return Summary(
            index=self.target / PAGE,
            files=total,
            made=len(todo),
            removed=len(gone),
            captions=sum(each["captions"] for each in about),
            without_pictures=sum(bool(each["lost"]) for each in about),
            broken=tuple((each["path"], each["problem"]) for each in about if each["problem"]),
        )

    def _save(self, records: Mapping[str, Record]) -> None:
        save(self.target, self.title, [records[key] for key in self.outputs if key in records])

    def _is_fresh(self, key: str, about: Mapping[str, Any]) -> bool:
        output = self.outputs[key]
        if about["stamp"] != self._stamp(output) or (self.pictures and not about["pictures"]):
            return False
        if about["sheet"] and not self._file(SHEETS, os.fsencode(output.path)).exists():
            return False
        try:
            return not about["lost"] or _traces(read_sheet(output.source), about["lost"]) == about["lost"]
        except (UnreadableError, OSError):
            return False

    def _stamp(self, output: Output) -> str:
        return f"{self.form} {_trace(output.source)}"

    def _make(self, key: str) -> Record:
        """Make a file's sheet and previews; whatever is wrong with the file is recorded."""
        output = self.outputs[key]
        path = PurePosixPath(os.fsencode(output.path).decode("utf-8", "replace"))
        about: dict[str, Any] = {
            "key": key,
            "stamp": self._stamp(output),  # before it is read: if it changes meanwhile, it is read again next time
            "path": str(path),
            "folder": path.parts[0] if len(path.parts) > 1 else "",
            "sheet": "",
            "problem": "",
            "captions": 0,
            "pictures": self.pictures,
            "lost": {},
        }
        try:
            sheet = read_sheet(output.source)
            seen = illustrate(sheet, self.budget) if self.pictures else Illustrated(sheet, {})
            page = render_sheet(seen.sheet, str(path), seen.lost, "../" * len(path.parts) + PAGE)
        except Exception as error:  # whatever is the matter with one file, the others have their sheets
            known = isinstance(error, UnreadableError | OSError)
            about["problem"] = str(error) if known else f"It can't be shown ({type(error).__name__}: {error})."
            self._remove(os.fsencode(output.path))  # a sheet of what it was before
            return Record.of(about)
        about["sheet"] = self._address(SHEETS, output)
        about["captions"] = sum(len(row.captions) for row in sheet.rows)
        about["lost"] = _traces(sheet, seen.lost)
        if previews := {row.anchor: row.preview for row in seen.sheet.rows if row.preview}:
            self._write(PREVIEWS, output, f"report.previews({json.dumps(about['sheet'])}, {json.dumps(previews)});")
        else:
            self._file(PREVIEWS, os.fsencode(output.path)).unlink(missing_ok=True)
        self._write(SHEETS, output, page)
        return Record.of(about, seen.sheet)

    def _write(self, folder: str, output: Output, content: str) -> None:
        file = self._file(folder, os.fsencode(output.path))
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as opened:
            opened.write(content)

    def _remove(self, path: bytes) -> None:
        for folder in (SHEETS, PREVIEWS):
            file = self._file(folder, path)
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                file.parent.rmdir()

    def _address(self, folder: str, output: Output) -> str:
        return quote(os.fsencode(self._file(folder, os.fsencode(output.path)).relative_to(self.target)))

    def _file(self, folder: str, path: bytes) -> Path:
        """Where the sheet or the previews of a file are, ``path`` being the file's."""
        parent, _, name = path.rpartition(b"/")
        if len(name) > _LONGEST_NAME:
            name = name[:_LONGEST_NAME] + hashlib.sha256(name).hexdigest()[:8].encode()
        return self.target / folder / os.fsdecode(parent) / (os.fsdecode(name) + _SUFFIXES[folder])


def _each(make: Callable[[str], Record], keys: list[str]) -> Iterator[tuple[str, Record]]:
    with ThreadPoolExecutor(min(MOST_AT_ONCE, os.cpu_count() or 1)) as pool:
        futures = {pool.submit(make, key): key for key in keys}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _traces(sheet: Sheet, ids: Iterable[str]) -> dict[str, str]:
    """Tell whether videos have changed: what can be seen of some of a sheet's."""
    return {video.id: _trace(video.path()) for video in sheet.videos if video.id in ids}


def _trace(file: Path | None) -> str:
    try:
        status = file.stat() if file else None
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}" if status else ""


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    with (target / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReportError(f"Another process is writing the report in {target}; wait until it is done.") from None
        yield
