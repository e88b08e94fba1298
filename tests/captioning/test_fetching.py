"""Videos by URL, fetched to a disk with a bound."""

import contextlib
import errno
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fsspec import filesystem
from fsspec.implementations.memory import MemoryFileSystem
from mmif import Document, DocumentTypes

from captioning.fetching import DiskFull, VideoCache
from captioning.places import ForbiddenPlace, Places
from captioning.running import CallCancelled, OutOfTime, Reason, RunningCall
from captioning.urls import Url
from captioning.videos import locate
from engine.precedence import Precedence
from tests.waiting import wait_until

A, B, C = (Url(f"memory://tapes/{name}.mp4") for name in "abc")


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    """A store with three videos of four bytes."""
    store = filesystem("memory")
    for url in (A, B, C):
        store.pipe(url.text, url.text[-5].encode() * 4)
    yield store
    store.rm("/tapes", recursive=True)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been fetched from the store."""
    seen: list[str] = []
    get = MemoryFileSystem.get_file

    def noted(self: Any, name: str, *given: Any, **more: Any) -> Any:
        seen.append(name)
        return get(self, name, *given, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", noted)
    return seen


def there(folder: Path) -> set[bytes]:
    """The content of all fetched videos on the disk."""
    return {path.read_bytes() for path in folder.rglob("*.mp4")}


def test_a_video_is_fetched_once_and_again_when_it_has_changed(tmp_path: Path, memory: Any, fetched: list[str]) -> None:
    cache = VideoCache(100, tmp_path)
    with cache.lease() as fetch, cache.lease() as other:
        path = fetch(A)
        assert path.read_bytes() == b"aaaa"
        assert path.suffix == ".mp4"
        assert fetch(A) == other(A) == path
    with cache.lease() as fetch:
        assert fetch(A) == path
    assert fetched == ["/tapes/a.mp4"]
    memory.pipe(A.text, b"anew")
    with cache.lease() as fetch:
        assert fetch(A).read_bytes() == b"anew"
    assert len(fetched) == 2


def test_those_let_go_of_longest_ago_make_room(tmp_path: Path) -> None:
    cache = VideoCache(8, tmp_path)
    for url in (A, B, A, C):
        with cache.lease() as fetch:
            fetch(url)
    assert there(tmp_path) == {b"aaaa", b"cccc"}
    assert cache.held == 8


def test_a_call_waits_for_room_that_others_need(tmp_path: Path) -> None:
    cache = VideoCache(8, tmp_path)
    got: list[bytes] = []

    def call() -> None:
        with cache.lease() as fetch:
            got.append(fetch(C).read_bytes())

    waiting = threading.Thread(target=call)
    with cache.lease() as fetch:
        fetch(A)
        fetch(B)
        waiting.start()
        waiting.join(0.2)
        assert got == []
        assert there(tmp_path) == {b"aaaa", b"bbbb"}
    waiting.join()
    assert got == [b"cccc"]
    assert cache.held <= 8


def test_calls_over_several_videos_do_not_wait_for_each_other(tmp_path: Path) -> None:
    cache = VideoCache(4, tmp_path)
    with cache.lease() as one:
        one(A)
        waiting = threading.Thread(target=lambda: _hold(cache, B))
        waiting.start()
        while len(cache._files) < 2:
            pass
        assert one(B).read_bytes() == b"bbbb"  # which the other would fetch if there were room
        waiting.join()
    assert cache.held <= 4


def _hold(cache: VideoCache, url: Url) -> None:
    with cache.lease() as fetch:
        fetch(url)


def test_who_comes_while_it_is_fetched_waits_and_tries_if_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = VideoCache(100, tmp_path)
    begun, gate = threading.Event(), threading.Event()
    get, tries = MemoryFileSystem.get_file, list[int]()

    def failing_first(self: Any, *given: Any, **more: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            begun.set()
            gate.wait()
            raise RuntimeError("the line is broken")
        return get(self, *given, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", failing_first)
    failures: list[str] = []

    def first() -> None:
        with pytest.raises(OSError, match="the line is broken") as failed, cache.lease() as fetch:
            fetch(A)
        failures.append(str(failed.value))

    threads = [threading.Thread(target=first), threading.Thread(target=lambda: _hold(cache, A))]
    threads[0].start()
    begun.wait()
    threads[1].start()
    while next(iter(cache._files.values())).leases < 2:
        pass
    gate.set()
    for thread in threads:
        thread.join()
    assert len(failures) == 1
    assert len(tries) == 2
    assert there(tmp_path) == {b"aaaa"}


def test_what_can_not_be_had_is_asked_for_once_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    get = MemoryFileSystem.get_file

    def fail(self: Any, *given: Any, **more: Any) -> None:
        get(self, *given, **more)
        raise TimeoutError("nobody answers")

    monkeypatch.setattr(MemoryFileSystem, "get_file", fail)
    cache = VideoCache(100, tmp_path)
    for _ in range(2):
        with cache.lease() as fetch:
            for _ in range(3):
                with pytest.raises(OSError, match="nobody answers"):
                    fetch(A)
    assert fetched == ["/tapes/a.mp4"] * 2
    assert there(tmp_path) == set()


def test_what_there_is_no_room_for_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="more than the .* that there is room for.*--video-cache-gib"):
        _hold(VideoCache(3, tmp_path), A)
    assert there(tmp_path) == set()


@contextlib.contextmanager
def sending(parts: Callable[[], Iterable[bytes]]) -> Iterator[Url]:
    """A video of these parts, whose web server doesn't say how large it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            with contextlib.suppress(ConnectionError):
                for part in parts():
                    self.wfile.write(part)

        def log_message(self, *given: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Url(f"http://127.0.0.1:{server.server_port}/a.mp4")
        server.shutdown()


@pytest.fixture
def of_unknown_size() -> Iterator[Url]:
    """A video of 20 MiB, whose web server doesn't say how large it is."""
    with sending(lambda: [bytes(20 * 1024**2)]) as url:
        yield url


def test_a_video_of_unknown_size_is_no_larger_than_the_room(tmp_path: Path, of_unknown_size: Url) -> None:
    cache = VideoCache(10 * 1024**2, tmp_path)
    with pytest.raises(OSError, match=r"more than the 0\.0.* GiB that there is room for.*--video-cache-gib"):
        _hold(cache, of_unknown_size)
    assert (there(tmp_path), cache.held) == (set(), 0)
    larger = VideoCache(30 * 1024**2, tmp_path)
    _hold(larger, A)
    _hold(larger, of_unknown_size)
    assert larger.held == 20 * 1024**2  # what was there had to go, since it could have been 30
    _hold(larger, A)
    assert larger.held == 20 * 1024**2 + 4


@pytest.mark.parametrize("background", [False, True])
def test_the_background_goes_on_while_a_video_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    get, precedence, held_back = MemoryFileSystem.get_file, Precedence(), []

    def noted(*given: Any, **more: Any) -> Any:
        held_back.append(precedence.others)
        return get(*given, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", noted)
    call = RunningCall(background=background, precedence=precedence)
    with precedence.going_first(), VideoCache(100, tmp_path).lease(call) as fetch:
        fetch(A)
        assert held_back == [background]  # for whoever goes first, if this call doesn't
        assert precedence.others


def test_a_video_that_has_more_than_its_server_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *given, **more: {"size": 3, "type": "file"})
    with pytest.raises(OSError, match="its server sends more than the 3 bytes that it said"):
        _hold(VideoCache(100, tmp_path), A)
    assert there(tmp_path) == set()


class Asking(threading.Thread):
    """A call that asks for one video, and what it has come to."""

    def __init__(self, cache: VideoCache, url: Url) -> None:
        super().__init__(daemon=True)
        self.cache, self.url = cache, url
        self.running = RunningCall()
        self.outcome: Path | BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            with self.cache.lease(self.running) as fetch:
                self.outcome = fetch(self.url)
        except BaseException as error:
            self.outcome = error

    def end(self, reason: Reason) -> BaseException:
        self.running.cancel(reason)
        self.join(30)
        assert isinstance(self.outcome, BaseException)
        return self.outcome


ENDS = pytest.mark.parametrize(("reason", "error"), [(Reason.CLIENT_GONE, CallCancelled), (Reason.DEADLINE, OutOfTime)])


@ENDS
def test_a_call_that_is_over_waits_for_no_room(tmp_path: Path, reason: Reason, error: type[BaseException]) -> None:
    cache = VideoCache(4, tmp_path)
    with cache.lease() as fetch:
        fetch(A)
        asking = Asking(cache, B)
        wait_until(lambda: len(cache._files) == 2)
        assert type(asking.end(reason)) is error
        assert len(cache._files) == 1
    assert there(tmp_path) == {b"aaaa"}


@ENDS
def test_a_call_that_is_over_waits_for_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: Reason, error: type[BaseException]
) -> None:
    cache, gate, get = VideoCache(100, tmp_path), threading.Event(), MemoryFileSystem.get_file

    def at_length(self: Any, *given: Any, **more: Any) -> None:
        gate.wait()
        get(self, *given, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", at_length)
    first = Asking(cache, A)
    wait_until(lambda: len(cache._files) == 1)
    second = Asking(cache, A)
    (file,) = cache._files.values()
    wait_until(lambda: file.leases == 2)
    assert type(second.end(reason)) is error
    assert file.leases == 1
    gate.set()
    first.join(30)
    assert isinstance(first.outcome, Path)
    assert file.leases == 0


@pytest.fixture
def endless() -> Iterator[Url]:
    """A video that its web server never comes to the end of."""

    def slowly() -> Iterator[bytes]:
        while True:
            yield bytes(1024)
            time.sleep(0.01)

    with sending(slowly) as url:
        yield url


@ENDS
def test_a_call_that_is_over_fetches_no_longer(
    tmp_path: Path, endless: Url, reason: Reason, error: type[BaseException]
) -> None:
    cache = VideoCache(1024**3, tmp_path)
    asking = Asking(cache, endless)
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob("captioner-videos-*/*.mp4")))
    assert type(asking.end(reason)) is error
    assert (there(tmp_path), cache.held) == (set(), 0)
    with pytest.raises(error), cache.lease(asking.running) as fetch:  # nor does it begin to
        fetch(A)
    assert cache.held == 0


def test_a_full_disk_is_not_the_video_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, name: str, target: str, **more: Any) -> None:
        Path(target).write_bytes(b"a")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MemoryFileSystem, "get_file", fail)
    cache = VideoCache(100, tmp_path)
    with pytest.raises(DiskFull, match="a.mp4 can't be fetched to .*No space left on device"):
        _hold(cache, A)
    assert there(tmp_path) == set()
    assert cache.held == 0
    (tmp_path / "file").touch()
    with pytest.raises(DiskFull, match="No video can be fetched to .*/file"):
        _hold(VideoCache(100, tmp_path / "file"), A)


def test_nothing_is_left(tmp_path: Path) -> None:
    killed = tmp_path / "captioner-videos-killed"
    killed.mkdir()
    (killed / "lock").touch()
    (tmp_path / "another's").mkdir()
    one, two = VideoCache(100, tmp_path), VideoCache(100, tmp_path)
    _hold(one, A)
    assert not killed.exists()
    _hold(two, B)
    assert there(tmp_path) == {b"aaaa", b"bbbb"}  # the first is alive, and keeps its own
    del one, two
    assert [path.name for path in tmp_path.iterdir()] == ["another's"]


def located(location: str, cache: VideoCache, places: Places) -> bytes:
    document = Document({"@type": str(DocumentTypes.VideoDocument), "properties": {"id": "d1", "mime": "video/mp4"}})
    document.properties.location_ = location
    with cache.lease() as fetch:
        return locate(document, places, fetch).read_bytes()


Located = Callable[..., bytes]


@pytest.fixture
def at(tmp_path: Path) -> Located:
    cache = VideoCache(100, tmp_path / "cache")
    return lambda location, *places: located(location, cache, Places(*places))


def test_documents_by_url(at: Located, memory: Any, tmp_path: Path) -> None:
    memory.pipe("/tapes/with%20percent.mp4", b"percent")
    memory.pipe("/tapes/with space.mp4", b"space")
    assert at("memory://tapes/a.mp4") == b"aaaa"
    assert at("memory://tapes/with%20percent.mp4") == b"percent"
    assert at("memory://tapes/with%20space.mp4") == b"space"
    (tmp_path / "local.mp4").write_bytes(b"local")
    assert at(f"file://{tmp_path}/local.mp4") == b"local"
    with pytest.raises(FileNotFoundError, match="there is no file memory://tapes/none.mp4, where d1 should be"):
        at("memory://tapes/none.mp4")
    with pytest.raises(OSError, match="nonsense://tapes/a.mp4, where d1 should be, can't be fetched: .*not known"):
        at("nonsense://tapes/a.mp4")


def test_documents_of_places_that_are_allowed(at: Located, tmp_path: Path, fetched: list[str]) -> None:
    assert at("memory://tapes/a.mp4", [tmp_path], ["memory://tapes"]) == b"aaaa"
    fetched.clear()
    for remotes in ([], ["memory://other"], ["s3://tapes"]):
        with pytest.raises(ForbiddenPlace, match="another host"):
            at("memory://tapes/a.mp4", [tmp_path], remotes)
    with pytest.raises(ForbiddenPlace):
        at(f"local://{tmp_path}/secret", [tmp_path], ["memory://tapes"])
    assert fetched == []


def test_documents_of_a_web_server(at: Located, tmp_path: Path) -> None:
    (tmp_path / "a b.mp4").write_bytes(b"web")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        assert at(f"{host}/a%20b.mp4?signature=x") == b"web"
        with pytest.raises(OSError, match=f"{host}/none.mp4"):
            at(f"{host}/none.mp4")
        server.shutdown()
    assert (tmp_path / "cache").is_dir()  # and not where the SDK would put it
