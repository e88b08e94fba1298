"""Which files a backfill is asked to do: folders, globs and manifests become pairs of an input and its output."""

import csv
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

LISTS = (".txt", ".lst")  # manifests with one path a line
TABLES = (".csv", ".tsv")  # manifests with a column of paths
SUFFIX = ".mmif"  # of the files that are looked for in folders


class InputError(ValueError):
    """The inputs can't be used. Seen by the operator, before anything starts."""


@dataclass(frozen=True)
class Job:
    """
    One file to do.

    :param path: of the output, relative to the output folder, with ``/``: its name in the ledger
    :param source: the input
    :param target: the output
    """

    path: str
    source: Path
    target: Path


def find_jobs(inputs: Iterable[str], output: Path, *, column: str = "", base: Path | None = None) -> list[Job]:
    """
    Find the files that ``inputs`` name, in the order of their paths.

    * A folder stands for the ``.mmif`` files in it and below; hidden ones and the output folder are left out. Their
      paths are relative to the folder.
    * A glob, with ``**`` for any folders, stands for the files that match. Their paths are relative to the folder
      before its first wildcard.
    * A manifest, told by its suffix, names files, absolute or relative to its own folder; relative paths are kept.
    * Any other file stands for itself, and its path is its name.

    :param column: the column of paths in manifests that are tables; not needed where there is one column
    :param base: the folder to which paths are relative instead; all files have to be below it
    :raises InputError: if an input is not there, or two files would have the same output
    """
    output = output.resolve()
    base = base.resolve() if base is not None else None
    found: dict[str, Path] = {}
    for given in inputs:
        for source, relative in _files(given, output, column):
            path = _path(source, relative, base)
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


def _files(given: str, output: Path, column: str) -> Iterator[tuple[Path, PurePath]]:
    """Yield the files that one input stands for, absolute, and their paths."""
    path = Path(given)
    if path.is_dir():
        yield from _in_folder(path.resolve(), output)
    elif path.is_file():
        suffix = path.suffix.lower()
        if suffix in TABLES:
            yield from _in_manifest(path, _table(path, column))
        elif suffix in LISTS:
            yield from _in_manifest(path, _lines(path))
        else:
            yield _absolute(path), PurePath(path.name)
    elif glob.has_magic(given):
        yield from _matching(given, output)
    else:
        raise InputError(f"There is no file or folder {given}.")


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


def _in_manifest(manifest: Path, entries: Iterable[str]) -> Iterator[tuple[Path, PurePath]]:
    # A file that isn't there is no reason to refuse the others: it fails when its turn comes, and is recorded.
    for entry in entries:
        file = _absolute(manifest.parent / entry)
        relative = PurePath(os.path.normpath(entry))
        if relative.is_absolute():
            relative = relative.relative_to(relative.anchor)
        yield file, relative


def _lines(manifest: Path) -> list[str]:
    lines = [line.strip() for line in _text(manifest).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _table(manifest: Path, column: str) -> list[str]:
    delimiter = "\t" if manifest.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(_text(manifest).splitlines(), delimiter=delimiter)
    names = list(rows.fieldnames or ())
    chosen = column or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        asked = f'no column "{column}"' if column else "several columns; say with --column which has the paths"
        raise InputError(f"{manifest} has {asked}. Its columns: {', '.join(names) or 'none'}.")
    return [entry for row in rows if (entry := (row[chosen] or "").strip())]


def _text(manifest: Path) -> str:
    try:
        return manifest.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark before it
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The manifest {manifest} can't be read: {error}") from error


def _path(source: Path, relative: PurePath, base: Path | None) -> str:
    if base is not None:
        if not source.is_relative_to(base):
            raise InputError(f"{source} is not below {base}, the folder that --base names.")
        relative = source.relative_to(base)
    if ".." in relative.parts:
        raise InputError(f"{source} lies outside its manifest's folder; say with --base what its path is relative to.")
    return relative.as_posix()


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))  # not resolved: a link keeps its name
