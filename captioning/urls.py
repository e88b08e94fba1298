"""Files elsewhere, by URL, as far as fsspec has something that reads them: object stores, web servers, its memory."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WEB = ("http", "https")
_SILENCE_SECONDS = 60  # of a web server, after which it is taken to be gone; a long file may take its time
_GONE = (404, 410)  # HTTP's status where there is nothing; with all others, there may be
_NONE = "there is no such file there"


@dataclass(frozen=True, order=True)
class Url:
    """A file elsewhere."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def scheme(self) -> str:
        """In lower case."""
        return self.text.partition(":")[0].lower()

    @property
    def name(self) -> str:
        """What names the file: host or bucket, and its path there."""
        if not self.on_web:
            return self.text.partition("://")[2]
        parts = urlsplit(self.text)
        return parts.netloc + unquote(parts.path)

    @property
    def on_web(self) -> bool:
        """Whether a web server has it, and what follows a question mark is no part of its name."""
        return self.scheme in _WEB


@dataclass(frozen=True)
class Status:
    """
    What is known of a file without reading it.

    :param size: in bytes; ``None`` if its server doesn't say
    :param mtime_ns: when it was last changed, in ns since 1970; ``None`` if its server doesn't say
    """

    size: int | None
    mtime_ns: int | None


Source = Path | Url


def source_of(text: str) -> Source:
    """Tell a path from a URL; one of this machine's files is a path, too."""
    if not _URL.match(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme.lower() == "file" and parts.netloc.lower() in ("", "localhost"):
        return Path(unquote(parts.path))
    return Url(text)


def status_of(source: Source) -> Status:
    """
    Look at a file.

    :raises OSError: if that isn't possible
    """
    if isinstance(source, Path):
        status = source.stat()
        return Status(status.st_size, status.st_mtime_ns)
    with opened(source) as (system, path):
        size = system.info(path).get("size")
        try:
            changed = system.modified(path)
        except NotImplementedError:
            changed = None
        return Status(size, round(changed.timestamp() * 1e6) * 1000 if changed else None)


def content_of(source: Source) -> bytes:
    """
    Read a file.

    :raises OSError: if that isn't possible
    """
    if isinstance(source, Path):
        return source.read_bytes()
    with opened(source) as (system, path):
        return bytes(system.cat_file(path))


@contextlib.contextmanager
def opened(url: Url) -> "Iterator[tuple[AbstractFileSystem, str]]":
    """
    Yield what reads a URL, and what it calls the file.

    :raises OSError: if there is nothing that reads it; and in place of whatever other error reading ends in
    """
    from fsspec import get_filesystem_class

    try:
        kind = get_filesystem_class(url.scheme)
        # One system alone: fsspec.open() would take "::" in a URL for a chain of them, the last of which may be a local
        # file whatever the first one is.
        options = kind._get_kwargs_from_urls(url.text)
        yield kind(**options, **_patience(url)), str(kind._strip_protocol(url.text))
    except FileNotFoundError as error:
        raise _absence(url, error) from error
    except TimeoutError as error:  # some say nothing
        raise _failure(error) from error
    except OSError:
        raise
    except ImportError as error:
        raise OSError(f"{url.scheme}:// can't be read: {error}") from error
    except Exception as error:  # each system has its own
        raise _failure(error) from error


def _absence(url: Url, error: FileNotFoundError) -> OSError:
    """Say why a file is not to be had; of a web server's, fsspec says of whatever it was that it is not there."""
    cause = error.__cause__ if url.on_web else None
    return _failure(cause) if isinstance(cause, Exception) else FileNotFoundError(_NONE)


def _failure(error: Exception) -> OSError:
    status = getattr(error, "status", None)
    if status in _GONE:
        return FileNotFoundError(_NONE)
    if isinstance(status, int):  # its own words have the whole URL, signature and all
        return OSError(f"its server answers {status} {getattr(error, 'message', '')}".rstrip())
    if isinstance(error, TimeoutError):
        return TimeoutError(str(error) or "its server fell silent")
    return OSError(str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}")


def _patience(url: Url) -> dict[str, Any]:
    if not url.on_web:
        return {}
    from aiohttp import ClientTimeout

    patience = ClientTimeout(total=None, sock_connect=_SILENCE_SECONDS, sock_read=_SILENCE_SECONDS)
    return {"client_kwargs": {"timeout": patience}}
