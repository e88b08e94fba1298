"""
Videos by URL: fetched whole to a disk of this machine, which holds so many bytes of them, and read there.

A call leases the files that it reads; those that nobody leases any more stay until their room is needed. A file that
has changed where it comes from is fetched anew.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from captioning.running import RunningCall
from captioning.urls import Url, opened

Fetch = Callable[[Url], Path]

_PREFIX = "captioner-videos-"
_LOCK = "lock"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class DiskFull(Exception):
    """The disk for fetched videos takes no more. Not the video's fault, and no other would fare better."""


@dataclass
class _File:
    """
    One version of a video.

    :param path: ``None`` while it is fetched
    :param size: in bytes, as far as it is known
    :param leases: how many calls read it, or wait for it
    :param urgent: one of these holds other files meanwhile, so that it may not wait for room
    """

    path: Path | None = None
    size: int = 0
    leases: int = 0
    urgent: bool = False


class VideoCache:
    """
    The fetched videos of this process. Thread-safe.

    :param limit: bytes; a call waits for others to let go of theirs rather than exceed it. Once it holds a video it
        waits no more, lest two calls wait for each other: calls over several videos may exceed it
    :param folder: in which it makes its own; ``None``: that of temporary files
    """

    def __init__(self, limit: int, folder: Path | None = None) -> None:
        self.limit = limit
        self._parent = Path(tempfile.gettempdir()) if folder is None else folder
        self._folder: Path | None = None
        self._files: dict[str, _File] = {}  # the one that was let go of longest ago first
        self._changed = threading.Condition()
        self._numbers = 0

    @property
    def held(self) -> int:
        """Bytes of the videos that are there, or being fetched."""
        return sum(file.size for file in self._files.values())

    @contextlib.contextmanager
    def lease(self, running: RunningCall | None = None) -> Iterator[Fetch]:
        """
        Yield what fetches a video, or finds it there, and keeps it until the end of the block.

        It raises OSError if a video can't be had, or is larger than all the room; and :class:`DiskFull`. When the call
        is cancelled it neither waits nor fetches any longer, and raises as :meth:`RunningCall.go_on` does.

        :param running: whose files they are
        """
        call = running or RunningCall()
        mine: dict[Url, tuple[str, Path]] = {}
        failed: dict[Url, OSError] = {}

        def fetch(url: Url) -> Path:
            if url in failed:  # every TimeFrame asks, and each would wait as long for a server that is silent
                raise failed[url]
            if url not in mine:
                # A tape takes minutes to come: the background goes on meanwhile.
                aside = contextlib.nullcontext() if call.background else call.precedence.stepping_aside()
                try:
                    with aside:
                        mine[url] = self._get(url, call, waits=not mine)
                except OSError as error:
                    failed[url] = error
                    raise
            return mine[url][1]

        try:
            with call.on_cancel(self._wake):
                yield fetch
        finally:
            with self._changed:
                for key, _ in mine.values():
                    self._let_go(key)

    def _get(self, url: Url, call: RunningCall, waits: bool) -> tuple[str, Path]:
        """Lease the file of a URL; returns its key and where it is."""
        call.go_on()
        with opened(url) as (system, name):
            info = system.info(name)
        size = None if info.get("size") is None else int(info["size"])
        room = self.limit if size is None else size  # it may turn out to have as much
        if room > self.limit:
            raise OSError(self._too_large(f"{room / 1024**3:.1f} GiB, "))
        key = f"{url} {info}"  # whatever else it tells changes when it does
        with self._changed:
            file = self._files.setdefault(key, _File())
            file.leases += 1
            file.urgent |= not waits
            others = file.leases > 1 or file.path is not None
            path = self._wait_for_others(key, file, call) if others else None
        if path is not None:
            return key, path
        if others:  # in vain
            return self._get(url, call, waits)
        try:
            with self._changed:
                self._changed.wait_for(lambda: call.reason or self._make_room(room) or file.urgent)
                call.go_on()
                file.size = room
            path = self._download(url, size, call)
        except BaseException:
            with self._changed:
                del self._files[key]
                self._changed.notify_all()
            raise
        with self._changed:
            file.path, file.size = path, path.stat().st_size
            self._changed.notify_all()
        return key, path

    def _wait_for_others(self, key: str, file: _File, call: RunningCall) -> Path | None:
        """Wait until a file is there; ``None``, and the lease is over, if whoever fetches it fails, or the call is."""
        self._changed.notify_all()  # it may have become urgent
        self._changed.wait_for(lambda: call.reason or file.path or self._files.get(key) is not file)
        if file.path is None and self._files.get(key) is file:
            self._let_go(key)
        return file.path

    def _make_room(self, size: int) -> bool:
        """Remove files that nobody leases, the oldest first, until so many bytes fit; returns whether they do."""
        for key, file in list(self._files.items()):
            if self.held + size <= self.limit:
                break
            if not file.leases and file.path is not None:
                del self._files[key]
                file.path.unlink(missing_ok=True)
        return self.held + size <= self.limit

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _let_go(self, key: str) -> None:
        file = self._files.pop(key)
        file.leases -= 1
        self._files[key] = file  # to the end
        self._make_room(0)
        self._changed.notify_all()

    def _too_large(self, size: str = "") -> str:
        room = f"{self.limit / 1024**3:g} GiB"
        return (
            f"it has {size}more than the {room} that there is room for. The operator can make more (--video-cache-gib)"
        )

    def _download(self, url: Url, size: int | None, call: RunningCall) -> Path:
        """
        Fetch a file.

        :param size: bytes that its server says it has
        :raises OSError: if it can't be had, or turns out to be larger than it may be
        :raises DiskFull: if it can't be written
        :raises CallCancelled, OutOfTime: if the call is over
        """
        with self._changed:
            self._numbers += 1
            path = self._own_folder() / f"{self._numbers}{PurePosixPath(url.name).suffix}"
        from fsspec import Callback

        def watch(_: int | None, fetched: int) -> None:
            if call.reason:  # by an OSError: fsspec takes what is no Exception, in its own thread, for success
                raise OSError("the call is over")
            if size is None and fetched > self.limit:
                raise OSError(self._too_large())
            if size is not None and fetched > size:
                raise OSError(f"its server sends more than the {size} bytes that it said")

        try:
            with opened(url) as (system, name):
                system.get_file(name, str(path), callback=Callback(hooks={"watch": watch}))
                watch(None, path.stat().st_size)  # not every system tells while it is at it
        except BaseException as error:
            path.unlink(missing_ok=True)
            call.go_on()
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise DiskFull(
                    f"{url} can't be fetched to {self._parent}: {error.strerror}. See --video-cache."
                ) from error
            raise
        return path

    def _own_folder(self) -> Path:
        if self._folder is None:
            try:
                self._folder = _make_folder(self, self._parent)
            except OSError as error:
                raise DiskFull(f"No video can be fetched to {self._parent}: {error}. See --video-cache.") from error
        return self._folder


def _make_folder(owner: VideoCache, parent: Path) -> Path:
    """Make a folder that is removed with its owner; should that be killed, the next one removes it."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (left / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=".", dir=parent))
    descriptor = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go of when the process ends
    folder = made.rename(parent / f"{_PREFIX}{made.name[1:]}")  # only now may others look into it
    weakref.finalize(owner, _remove, folder, descriptor)
    return folder


def _remove(folder: Path, descriptor: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)
