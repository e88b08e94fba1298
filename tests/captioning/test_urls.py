"""Files elsewhere, by URL."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fsspec import filesystem
from fsspec.implementations.memory import MemoryFileSystem

import captioning.urls
from captioning.urls import Source, Status, Url, content_of, opened, source_of, status_of


@pytest.fixture
def bucket() -> Iterator[str]:
    """A folder in memory, as a store has one, with a file."""
    memory = filesystem("memory")
    memory.pipe("/bucket/a b.txt", b"content")
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("tapes/a.mmif", Path("tapes/a.mmif")),
        ("/tapes/a:b.mmif", Path("/tapes/a:b.mmif")),
        ("file:///tapes/a%20b.mmif", Path("/tapes/a b.mmif")),
        ("FILE://localhost/tapes", Path("/tapes")),
        ("s3://bucket/a%20b.mmif", Url("s3://bucket/a%20b.mmif")),
        ("file://elsewhere/tapes", Url("file://elsewhere/tapes")),
    ],
)
def test_a_url_is_told_from_a_path(text: str, source: Source) -> None:
    assert source_of(text) == source


def test_names() -> None:
    assert Url("s3://bucket/a%20?b.mmif").name == "bucket/a%20?b.mmif"
    assert Url("https://host:1/a%20b.mmif?signature=x/y.z").name == "host:1/a b.mmif"


def test_what_is_there(bucket: str) -> None:
    url = Url(f"{bucket}/a b.txt")
    assert content_of(url) == b"content"
    written: datetime = filesystem("memory").modified("/bucket/a b.txt")
    assert status_of(url) == Status(7, round(written.timestamp() * 1e6) * 1000)


def test_what_is_there_of_a_store_that_says_little(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: MemoryFileSystem, path: str) -> datetime:
        raise NotImplementedError

    monkeypatch.setattr(MemoryFileSystem, "modified", unknown)
    assert status_of(Url(f"{bucket}/a b.txt")) == Status(7, None)


def test_what_is_there_on_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "a.mmif"
    path.write_bytes(b"content")
    os.utime(path, ns=(1, 1_700_000_000_000_000_001))
    assert content_of(path) == b"content"
    assert status_of(path) == Status(7, 1_700_000_000_000_000_001)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory://bucket/none", "no such file"),
        ("nonsense://bucket/a", "Protocol not known: nonsense"),
        ("dropbox://a", "dropbox:// can't be read: .*install"),
        ("http://127.0.0.1:1/a", "no such file|Cannot connect"),
    ],
)
def test_what_can_not_be_read_is_an_os_error(bucket: str, text: str, said: str) -> None:
    for read in (status_of, content_of):
        with pytest.raises(OSError, match=said):
            read(Url(text))


@pytest.fixture
def answering() -> Iterator[Callable[[int], Url]]:
    """Makes the URL of a file for which a web server answers with a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(int(self.path[1:4]))

        do_HEAD = do_GET

        def log_message(self, *given: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda status: Url(f"http://127.0.0.1:{server.server_port}/{status}.mp4?signature=secret")
        server.shutdown()


@pytest.mark.parametrize("read", [status_of, content_of])
@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_a_web_server_has_not(answering: Callable[[int], Url], read: Any, status: int) -> None:
    with pytest.raises(FileNotFoundError, match="^there is no such file there$"):
        read(answering(status))


@pytest.mark.parametrize("read", [status_of, content_of])
@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden"), (503, "503 Service Unavailable")])
def test_a_web_server_that_does_not_give_a_file(
    answering: Callable[[int], Url], read: Any, status: int, words: str
) -> None:
    with pytest.raises(OSError, match=f"^its server answers {words}$") as refused:
        read(answering(status))
    assert not isinstance(refused.value, FileNotFoundError)


def test_a_web_server_that_is_not_there() -> None:
    with pytest.raises(OSError, match="Cannot connect to host 127.0.0.1:1") as refused:
        status_of(Url("http://127.0.0.1:1/a"))
    assert not isinstance(refused.value, FileNotFoundError)


def test_a_web_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioning.urls, "_SILENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OSError, match="^its server fell silent$"):
        content_of(Url(f"http://127.0.0.1:{silent.getsockname()[1]}/a"))


def test_whatever_error_a_store_has_is_an_os_error(bucket: str) -> None:
    with pytest.raises(OSError, match="KeyError: 'bucket'"), opened(Url(f"{bucket}/x")):
        raise KeyError("bucket")


def test_no_file_of_this_machine_comes_in_through_a_chain(bucket: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for chain in (f"{bucket}/a::file://{secret}", f"simplecache::file://{secret}", f"filecache://{secret}"):
        with pytest.raises(OSError):
            content_of(Url(chain))
