"""Where videos may be read from."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit


class ForbiddenPlace(PermissionError):
    """A video lies where none is read from. Seen as a warning; says nothing of what there is."""


class Places:
    """
    The folders and remote hosts that videos may be read from.

    :param folders: in which, links resolved, a file has to lie; anywhere, if there are none
    :param remotes: scheme and host, as ``https://media.example.org``, in lower case; any, if there are neither these
        nor folders
    """

    def __init__(self, folders: Sequence[Path] = (), remotes: Sequence[str] = ()) -> None:
        self._folders = tuple(folder.resolve() for folder in folders)
        self._remotes = frozenset(remotes)

    def check_location(self, location: str) -> bool:
        """
        See whether a location may be looked at, before it is.

        :returns: whether it is that of a file of this machine, whose path is to be checked next
        :raises ForbiddenPlace: if it may not
        """
        try:
            parts = urlsplit(location)
            scheme, host = parts.scheme.lower(), parts.netloc.lower()
        except ValueError as error:
            raise ForbiddenPlace(f"its location is no URL ({error}).") from error
        local = scheme in ("", "file")
        if (local and host in ("", "localhost")) or not (self._folders or self._remotes):
            return local
        if local or f"{scheme}://{host}" not in self._remotes:
            raise ForbiddenPlace(
                "its location is on another host, from which this server takes no video. Its operator can allow it "
                "(--allow-remote)."
            )
        return False

    def check_path(self, path: str) -> Path:
        """
        See whether a file may be looked at, before it is.

        :returns: its path, links resolved where that matters
        :raises ForbiddenPlace: if it may not, whether it is there or not
        """
        if not self._folders:
            return Path(path)
        try:
            resolved = Path(path).resolve()
        except (OSError, RuntimeError, ValueError):  # links in a circle, or no path at all
            resolved = None
        if resolved is None or not any(resolved.is_relative_to(folder) for folder in self._folders):
            raise ForbiddenPlace(
                "its location is outside of the folders that this server reads videos from. Its operator can add one "
                "(--media-root)."
            )
        return resolved


ANYWHERE = Places()
