"""Which files a backfill is asked to do: folders, globs and manifests become pairs of an input and its output."""

import csv
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from captioning.urls import Source, Url, content_of, opened, source_of

LISTS = (".txt", ".lst")  # manifests with one path a line
TABLES = (".csv", ".tsv")  # manifests with a column of paths
MANIFESTS = (*LISTS, *TABLES)
SUFFIX = ".mmif"  # of the files that are looked for in folders


class InputError(ValueError):
    """The inputs can't be used. Seen by the operator, before anything starts."""


@dataclass(frozen=True)
class Job:
    """
    One file to do.

    :param path: of the output, relative to the output folder, with ``/``: its name in the ledger
    :param source: the input, a file of this machine or elsewhere
    :param target: the output
    """

    path: str
    source: Source
    target: Path


def find_jobs(inputs: Iterable[str], output: Path, *, column: str = "", base: str | Path | None = None) -> list[Job]:
    """
    Find the files that ``inputs`` name, in the order of their paths.

    * A folder stands for the ``.mmif`` files in it and below; hidden ones and the output folder are left out. Their
      paths are relative to the folder.
    * A glob, with ``**`` for any folders, stands for the files that match. Their paths are relative to the folder
      before its first wildcard.
    * A manifest, told by its suffix, names files, absolute or relative to its own folder; relative paths are kept.
    * Any other file stands for itself, and its path is its name.

    All of them may be URLs of what fsspec reads; of a web server, which does not tell what it has, files and manifests.

    :param column: the column of paths in manifests that are tables; not needed where there is one column
    :param base: the folder to which paths are relative instead; all files have to be below it
    :raises InputError: if an input is not there, or two files would have the same output
    """
    output = output.resolve()
    below = None if base is None else source_of(str(base))
    if isinstance(below, Path):
        below = below.resolve()
    found: dict[str, Source] = {}
    for given in inputs:
        for source, relative in _files(given, output, column):
            path = _path(source, relative, below)
            if (other := found.setdefault(path, source)) != source:
                raise InputError(
                    f"{other} and {source} would both become {path} in the output. Name the folder above them "
                    "instead, or with --base the one to which paths are relative."
                )
            if (output / path) == source:
                raise InputError(f"{source} would be overwritten by its own output; name another output folder.")
    return [Job(path, found[path], output / path) for path in sorted(found)]


def mmif_files(
    folder: Path, but: Path | None = None, onerror: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """
    Yield the ``.mmif`` files in a folder and below, those hidden left out.

    :param but: a folder, resolved, to leave out as well
    :param onerror: is told of a folder that can't be read; without, it is passed over
    """
    for current, folders, names in os.walk(folder, onerror=onerror):
        here = Path(current)
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name).resolve() != but]
        yield from (here / name for name in names if name.endswith(SUFFIX) and not name.startswith("."))


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
    for file in mmif_files(folder, output, _refuse):
        yield file, file.relative_to(folder)


def _refuse(error: OSError) -> None:
    raise InputError(f"The folder {error.filename} can't be read: {error.strerror}.") from error


def _matching(pattern: str, output: Path) -> Iterator[tuple[Path, PurePath]]:
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = _absolute(Path(*parts[:fixed]))
    files = [file for file in root.glob(str(Path(*parts[fixed:]))) if file.is_file() and output not in file.parents]
    matching = [file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts)]
    if not matching:
        raise InputError(f"No file matches {pattern}.")
    for file in matching:
        yield file, file.relative_to(root)


def _in_manifest(manifest: Source, column: str) -> Iterator[tuple[Source, PurePath]]:
    # A file that isn't there is no reason to refuse the others: it fails when its turn comes, and is recorded.
    entries = _table(manifest, column) if _suffix(manifest) in TABLES else _lines(manifest)
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
    lines = [line.strip() for line in _text(manifest).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _table(manifest: Source, column: str) -> list[str]:
    delimiter = "\t" if _suffix(manifest) == ".tsv" else ","
    rows = csv.DictReader(_text(manifest).splitlines(), delimiter=delimiter)
    names = list(rows.fieldnames or ())
    chosen = column or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        asked = f'no column "{column}"' if column else "several columns; say with --column which has the paths"
        raise InputError(f"{manifest} has {asked}. Its columns: {', '.join(names) or 'none'}.")
    return [entry for row in rows if (entry := (row[chosen] or "").strip())]


def _text(manifest: Source) -> str:
    try:
        return content_of(manifest).decode("utf-8-sig")  # spreadsheets put a byte order mark before it
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The manifest {manifest} can't be read: {error}") from error


def _path(source: Source, relative: PurePath, base: Source | None) -> str:
    if base is not None:
        relative = _below(source, base)
    if ".." in relative.parts or not relative.parts:
        raise InputError(f"{source} lies outside its manifest's folder; say with --base what its path is relative to.")
    return relative.as_posix()


def _below(source: Source, base: Source) -> PurePath:
    if isinstance(source, Path) and isinstance(base, Path) and source.is_relative_to(base):
        return source.relative_to(base)
    if isinstance(source, Url) and isinstance(base, Url) and source.name.startswith(f"{base.name.rstrip('/')}/"):
        return PurePosixPath(source.name.removeprefix(base.name).lstrip("/"))
    raise InputError(f"{source} is not below {base}, the folder that --base names.")


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))  # not resolved: a link keeps its name
