"""Which files a backfill is asked to do: folders, globs and manifests become pairs of an input and its output."""

import csv
import glob
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from archive.folders import SUFFIX, Places, mmif_files, printable, real
from captioning.urls import Source, Url, content_of, opened, source_of

LISTS = (".txt", ".lst")  # manifests with one path a line
TABLES = (".csv", ".tsv")  # manifests with a column of paths
MANIFESTS = (*LISTS, *TABLES)


class InputError(ValueError):
    """The inputs can't be used. Seen by the operator, before anything starts."""


@dataclass(frozen=True)
class Job:
    """
    One file to do.

    :param path: of the output, relative to the output folder, with ``/``: its name in the ledger; printable
    :param source: the input, a file of this machine or elsewhere
    :param target: the output
    """

    path: str
    source: Source
    target: Path


def find_jobs(inputs: Iterable[str], output: Path, *, column: str = "", base: str | Path | None = None) -> list[Job]:
    """
    Find the files that ``inputs`` name, in the order of their paths.

    * A folder stands for the ``.mmif`` files in it and below, hidden ones left out. Their paths are relative to the
      folder.
    * A glob, with ``**`` for any folders, stands for the files that match. Their paths are relative to the folder
      before its first wildcard.
    * A manifest, told by its suffix, names files, absolute or relative to its own folder; relative paths are kept.
    * Any other file stands for itself, and its path is its name.

    All of them may be URLs of what fsspec reads; of a web server, which does not tell what it has, files and manifests.
    Folders and globs leave out what lies in the output folder, unless they lie there themselves.

    :param column: the column of paths in manifests that are tables; not needed where there is one column
    :param base: the folder to which paths are relative instead; all files have to be below it
    :raises InputError: if an input is not there, two files would have the same output, or one would be overwritten
    """
    output, places = real(output), Places()
    below = None if base is None else source_of(str(base))
    found: dict[str, Source] = {}
    for given in inputs:
        for source, relative in _files(given, output, column):
            path = _path(source, relative, below, places)
            other = found.setdefault(path, source)
            if other != source and places.of(other) != places.of(source):
                raise InputError(
                    f"{other} and {source} would both become {path} in the output. Name the folder above them "
                    "instead, or with --base the one to which paths are relative."
                )
    jobs = [Job(path, found[path], output / path) for path in sorted(found)]
    _keep_inputs(jobs, places)
    return jobs


def _keep_inputs(jobs: Iterable[Job], places: Places) -> None:
    """
    See to it that no output takes the place of an input, be it by a link.

    :raises InputError: if one would
    """
    inputs = {place: job.source for job in jobs for place in places.both(job.source)}
    for job in jobs:
        for place in places.both(job.target):
            if (lost := inputs.get(place)) is not None:
                what = "its own output" if lost == job.source else f"the output of {job.source}"
                raise InputError(f"{lost} would be overwritten by {what}; name another output folder.")


def _files(given: str, output: Path, column: str) -> Iterator[tuple[Source, PurePath]]:
    """Yield the files that one input stands for, absolute, and their paths."""
    path = source_of(given)
    if isinstance(path, Url):
        yield from _elsewhere(path, column)
    elif path.is_dir():
        yield from _in_folder(path.resolve(), output)
    elif path.is_file():
        if _suffix(path) in MANIFESTS:
            yield from _in_manifest(path, column)
        else:
            yield _absolute(path), PurePath(path.name)
    elif glob.has_magic(given):
        yield from _matching(given, output)
    else:
        raise InputError(f"There is no file or folder {given}.")


def _elsewhere(url: Url, column: str) -> Iterator[tuple[Source, PurePath]]:
    if _suffix(url) in MANIFESTS:
        yield from _in_manifest(url, column)
        return
    if url.on_web:  # one that isn't there fails when its turn comes
        yield url, PurePosixPath(PurePosixPath(url.name).name)
        return
    try:
        found = _listed(url)
    except OSError as error:
        raise InputError(f"{url} can't be read: {error}") from error
    if not found:
        raise InputError(f"There is no file at {url}.")
    yield from found


def _listed(url: Url) -> list[tuple[Url, PurePath]]:
    """
    List the files that a URL of one, of a folder, or with wildcards stands for, as a store tells.

    :raises OSError: if it doesn't
    """
    parts = url.text.split("/")
    fixed = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    root = Url("/".join(parts[:fixed]).rstrip("/"))
    if "://" not in root.text:
        raise OSError("it has to name a bucket or a host, without wildcards")
    with opened(url if fixed < len(parts) else root) as (system, path):
        there = str(system._strip_protocol(root.text))
        if fixed < len(parts):
            names = [name for name, info in system.glob(path, detail=True).items() if info["type"] == "file"]
        elif system.isdir(path):
            names = [name for name in system.find(path) if name.endswith(SUFFIX)]
        else:
            return [(root, PurePosixPath(PurePosixPath(root.name).name))] if system.exists(path) else []
    paths = [name[len(there) :].strip("/") for name in names]
    visible = [path for path in paths if not any(part.startswith(".") for part in path.split("/"))]
    return [(Url(f"{root}/{path}"), PurePosixPath(path)) for path in visible]


def _in_folder(folder: Path, output: Path) -> Iterator[tuple[Path, PurePath]]:
    file = None
    for file in mmif_files(folder, output, _refuse):
        yield file, file.relative_to(folder)
    if file is None:  # as the folder is where a share should be mounted, for instance
        raise InputError(f"There is no {SUFFIX} file in {folder}.")


def _refuse(error: OSError) -> None:
    raise InputError(f"The folder {error.filename} can't be read: {error.strerror}.") from error


def _matching(pattern: str, output: Path) -> Iterator[tuple[Path, PurePath]]:
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = _absolute(Path(*parts[:fixed]))
    files = [file for file in root.glob(str(Path(*parts[fixed:]))) if file.is_file()]
    matching = [file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts)]
    if not real(root).is_relative_to(output):
        places, within = Places(), f"{output}/"
        matching = [file for file in matching if not places.of(file).startswith(within)]
    if not matching:
        raise InputError(f"No file matches {pattern}.")
    for file in matching:
        yield file, file.relative_to(root)


def _in_manifest(manifest: Source, column: str) -> Iterator[tuple[Source, PurePath]]:
    # A file that isn't there is no reason to refuse the others: it fails when its turn comes, and is recorded.
    entries = _table(manifest, column) if _suffix(manifest) in TABLES else _lines(manifest)
    if not entries:
        raise InputError(f"There is no file in the manifest {manifest}.")
    for entry in entries:
        file = source_of(entry)
        if isinstance(file, Url):
            yield file, PurePosixPath(file.name)
        elif isinstance(manifest, Url) and not file.is_absolute():
            yield Url(f"{_without_query(manifest).rpartition('/')[0]}/{entry}"), PurePosixPath(entry)
        else:
            folder = manifest.parent if isinstance(manifest, Path) else Path("/")
            relative = PurePath(os.path.normpath(file))
            yield _absolute(folder / file), relative.relative_to(relative.anchor)


def _suffix(source: Source) -> str:
    return PurePosixPath(source.name).suffix.lower()


def _without_query(url: Url) -> str:
    return url.text.partition("?")[0] if url.on_web else url.text


def _lines(manifest: Source) -> list[str]:
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", _text(manifest))]  # a name may have what else ends lines
    return [line for line in lines if line and not line.startswith("#")]


def _table(manifest: Source, column: str) -> list[str]:
    text = io.StringIO(_text(manifest), newline="")
    if _suffix(manifest) == ".tsv":  # has no quoting: a quotation mark is one
        rows = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        rows = csv.DictReader(text, strict=True)
    begun, entries = 0, list[str]()
    try:
        chosen = _column(manifest, column, list(rows.fieldnames or ()))
        begun = rows.line_num
        for row in rows:
            begun = rows.line_num
            if entry := (row[chosen] or "").strip():
                entries.append(entry)
    except csv.Error as error:
        raise InputError(
            f"The manifest {manifest} can't be read from line {begun + 1} on: {error}. A field that begins with a "
            'quotation mark has to end with one, and one within it to stand there twice (""); or make it a .tsv, '
            "which knows no quotation marks."
        ) from error
    return entries


def _column(manifest: Source, column: str, names: list[str]) -> str:
    chosen = column or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        asked = f'no column "{column}"' if column else "several columns; say with --column which has the paths"
        raise InputError(f"{manifest} has {asked}. Its columns: {', '.join(names) or 'none'}.")
    return chosen


def _text(manifest: Source) -> str:
    try:
        return content_of(manifest).decode("utf-8-sig")  # spreadsheets put a byte order mark before it
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The manifest {manifest} can't be read: {error}") from error


def _path(source: Source, relative: PurePath, base: Source | None, places: Places) -> str:
    if base is not None:
        relative = _below(source, base, places)
    if relative.is_absolute():  # a URL's path, which would lead out of the output folder
        relative = relative.relative_to(relative.anchor)
    if ".." in relative.parts or not relative.parts:
        raise InputError(f"{source} lies outside its manifest's folder; say with --base what its path is relative to.")
    if "\0" in str(relative):
        raise InputError(f"{str(source)!r} can't be the name of a file.")
    return printable(relative.as_posix())  # one that is not UTF-8 is refused when its turn comes


def _below(source: Source, base: Source, places: Places) -> PurePath:
    if isinstance(source, Path) and isinstance(base, Path):
        place = Path(places.both(source)[0])
        ways = [(source, _absolute(base)), (source, real(base)), (place, real(base))]
        for file, folder in ways:  # by the names that were given, if that is possible: a link keeps its name
            if file.is_relative_to(folder):
                return file.relative_to(folder)
    if isinstance(source, Url) and isinstance(base, Url) and source.name.startswith(f"{base.name.rstrip('/')}/"):
        return PurePosixPath(source.name.removeprefix(base.name).lstrip("/"))
    raise InputError(f"{source} is not below {base}, the folder that --base names.")


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))  # not resolved: a link keeps its name
