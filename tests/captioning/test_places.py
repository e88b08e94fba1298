"""Where videos are read from, and what is told of the rest."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mmif import Document, DocumentTypes, Mmif

from captioning.parameters import Parameters
from captioning.places import ForbiddenPlace, Places
from captioning.plan import plan
from captioning.videos import locate
from captioning.warning import Cause
from demo.annotations import interval_mmif
from demo.broadcast import Segment, render
from metadata import appmetadata


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`media` with a video and links, and beside it `secret`, the same with another name."""
    base = tmp_path_factory.mktemp("places")
    (base / "media" / "deeper").mkdir(parents=True)
    (base / "secret").mkdir()
    (base / "mediaeval").mkdir()
    for name in ("media/in.mp4", "media/deeper/in%20deep.mp4", "secret/out.mp4", "mediaeval/out.mp4"):
        (base / name).write_bytes(b"video")
    (base / "media" / "link.mp4").symlink_to(base / "secret" / "out.mp4")
    (base / "media" / "folder").symlink_to(base / "secret")
    (base / "media" / "circle.mp4").symlink_to(base / "media" / "circle.mp4")
    (base / "media" / "inner.mp4").symlink_to(base / "media" / "in.mp4")
    (base / "way").symlink_to(base / "media")
    (base / "my archive").mkdir()
    (base / "my archive" / "in.mp4").write_bytes(b"video")
    return base


def located(location: str, places: Places) -> Path:
    document = Document({"@type": str(DocumentTypes.VideoDocument), "properties": {"id": "d1", "mime": "video/mp4"}})
    document.properties.location_ = location  # as it is in a file
    return locate(document, places)


@pytest.mark.parametrize(
    ("location", "file"),
    [
        ("file://{}/media/in.mp4", "media/in.mp4"),
        ("file://localhost{}/media/in.mp4", "media/in.mp4"),
        ("file://{}/media/deeper/../in.mp4", "media/in.mp4"),
        ("file://{}/media/inner.mp4", "media/in.mp4"),
        ("file://{}/way/in.mp4", "media/in.mp4"),
        ("file://{}/media/deeper/in%20deep.mp4", "media/deeper/in%20deep.mp4"),
        ("file://{}/media/%69n.mp4", "media/in.mp4"),
    ],
)
def test_inside(folders: Path, location: str, file: str) -> None:
    assert located(location.format(folders), Places([folders / "media"])) == folders / file


def test_a_folder_whose_name_is_percent_encoded(folders: Path) -> None:
    places = Places([folders / "my archive"])
    assert located(f"file://{folders}/my%20archive/in.mp4", places) == folders / "my archive/in.mp4"
    with pytest.raises(FileNotFoundError, match="there is no file .*/my%20archive/none.mp4"):
        located(f"file://{folders}/my%20archive/none.mp4", places)
    with pytest.raises(ForbiddenPlace):
        located(f"file://{folders}/my%20archive/%2e%2e/secret/out.mp4", places)


@pytest.mark.parametrize(
    "location",
    [
        "file://{}/secret/out.mp4",
        "file://{}/secret/nothing.mp4",
        "file://{}/mediaeval/out.mp4",
        "file://{}/media/../secret/out.mp4",
        "file://{}/media/%2e%2e/secret/out.mp4",
        "file://{}/media/..%2fsecret/out.mp4",
        "file://{}/media/link.mp4",
        "file://{}/media/folder/out.mp4",
        "file://{}/media/folder/nothing.mp4",
        "file://{}/media/circle.mp4",
        "file://{}/media/in.mp4%00",
        "file://elsewhere{}/media/in.mp4",
        "file://127.0.0.1:80{}/media/in.mp4",
        "FILE://elsewhere{}/media/in.mp4",
        "http://media.example.org{}/media/in.mp4",
        "https://allowed.example.org@media.example.org{}/media/in.mp4",
        "https://allowed.example.org.example.net{}/media/in.mp4",
        "http://allowed.example.org{}/media/in.mp4",
        "https://allowed.example.org:8443{}/media/in.mp4",
        "https://[broken{}",
        "../secret/out.mp4",
        "/etc/passwd",
        "ftp:///etc/passwd",
    ],
)
def test_outside(folders: Path, location: str) -> None:
    places = Places([folders / "media"], ["https://allowed.example.org"])
    with pytest.raises(ForbiddenPlace) as refused:
        located(location.format(folders), places)
    assert "secret" not in str(refused.value)
    assert "out.mp4" not in str(refused.value)


def test_what_is_there_and_what_is_not_are_told_alike(folders: Path) -> None:
    places = Places([folders / "media"])
    texts = set()
    for name in ("secret/out.mp4", "secret/nothing.mp4", "media/link.mp4", "secret", "nowhere/nothing.mp4"):
        with pytest.raises(ForbiddenPlace) as refused:
            located(f"file://{folders}/{name}", places)
        texts.add(str(refused.value))
    assert len(texts) == 1


@pytest.fixture
def host(folders: Path) -> Iterator[str]:
    """A web server for the folder `media`."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folders / "media"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_allowed_host(folders: Path, host: str) -> None:
    location = f"http://{host}/in.mp4"
    assert located(location, Places([folders / "secret"], [f"http://{host}"])).read_bytes() == b"video"
    for remotes in ([], ["http://127.0.0.1"], [f"https://{host}"]):
        with pytest.raises(ForbiddenPlace, match="another host"):
            located(location, Places([folders / "secret"], remotes))


def test_without_folders_everything_is_read(folders: Path) -> None:
    assert located(f"file://{folders}/secret/out.mp4", Places()) == folders / "secret/out.mp4"


def test_the_other_documents_go_on(folders: Path) -> None:
    made = render(folders / "media" / "short.mp4", (Segment("slate", "blue", 0, 2),))
    mmif = Mmif(interval_mmif(made, labels=["slate"]))
    forbidden = Document(mmif["d1"].serialize())
    forbidden.id = "d2"
    forbidden.location = f"file://{folders}/secret/out.mp4"
    mmif.add_document(forbidden)
    (view,) = mmif.views
    (first,) = [a for a in view.get_annotations() if a.get_property("label") == "slate"]
    first.add_property("document", "d1")
    view.new_annotation(first.at_type, document="d2", start=0, end=1000, label="slate", timeUnit="milliseconds")
    defaults = {p.name: p.default for p in appmetadata().parameters}
    asked = Parameters.of(defaults | {"tfSamplingMode": "single", "prompt": ["?"]})
    work = plan(mmif, asked, Places([folders / "media"]))
    assert [task.document for task in work.tasks] == ["d1"]
    (warning,) = work.warnings
    assert warning.cause is Cause.FORBIDDEN_PLACE
    assert "the video d2 is not read: its location is outside of the folders" in str(warning)
    assert work.failures == 1
