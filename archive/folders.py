"""Folders of MMIF files, through the links that unite them; where files really are, and how their names are shown."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from captioning.urls import Source, Url

SUFFIX = ".mmif"  # of the files that are looked for in folders


class Places:
    """
    Where files really are, as text: for 100,000 files ``Path`` takes several times as long. Remembers folders, since an
    archive has many files in few of them.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, source: Source) -> str:
        """Return a file's path, all links followed; of one elsewhere its URL."""
        return self.both(source)[1]

    def both(self, source: Source) -> tuple[str, str]:
        """Return the place of a file's name, which may be a link, and that of the file."""
        if isinstance(source, Url):
            return source.text, source.text
        folder, name = os.path.split(source)
        if (there := self._folders.get(folder)) is None:
            there = self._folders[folder] = os.path.realpath(folder).rstrip("/")
        place = f"{there}/{name}"
        return place, os.path.realpath(place) if _is_link(place) else place


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


def printable(name: object) -> str:
    """Return a name as text that can be stored and shown: of one that is not UTF-8 the bytes, as ``\\xe4``."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def real(path: Path) -> Path:
    """Return a path, all links followed as far as they lead to something."""
    return Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError if links lead in a circle


@dataclass(frozen=True)
class _Step:
    """
    A folder on a walk.

    :param place: where it really is
    :param left: the places at which a link was followed on the way to it
    """

    place: Path
    left: tuple[Path, ...] = ()

    def into(self, folder: Path) -> "_Step | None":
        """Return the step to a folder in this one; ``None`` if its link leads back to where the walk came from."""
        if not folder.is_symlink():
            return _Step(self.place / folder.name, self.left)
        place, left = real(folder), (*self.left, self.place)
        return None if any(been.is_relative_to(place) for been in left) else _Step(place, left)


def mmif_files(
    folder: Path, but: Path | None = None, onerror: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """
    Yield the ``.mmif`` files in a folder and below, those hidden left out. Links to folders are followed, but not in
    circles.

    :param but: a folder; what lies in it is left out as well, unless ``folder`` lies there itself
    :param onerror: is told of a folder that can't be read; without, it is passed over
    """
    first = _Step(real(folder))
    apart = None if but is None else real(but)
    if apart and first.place.is_relative_to(apart):
        apart = None
    steps = {os.fspath(folder): first}
    for current, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        step, here = steps.pop(current), Path(current)
        visited = []
        for name in folders:
            next_ = None if name.startswith(".") else step.into(here / name)
            if next_ is not None and not (apart and next_.place.is_relative_to(apart)):
                steps[f"{current.rstrip('/')}/{name}"] = next_  # as the walk will call it
                visited.append(name)
        folders[:] = visited
        found = (here / name for name in names if name.endswith(SUFFIX) and not name.startswith("."))
        yield from (file for file in found if not (apart and _is_link(str(file)) and real(file).is_relative_to(apart)))
