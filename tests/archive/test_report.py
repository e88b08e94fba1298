"""The report on a folder: what is made, made again, left alone and removed; what becomes of what is broken."""

import base64
import errno
import fcntl
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from archive import report
from archive.exports import export
from archive.index import load
from archive.pages import clock
from archive.reading import read_sheet
from archive.report import ReportError, Summary, write
from demo.broadcast import Broadcast

HOSTILE = "<script>alert(1)</script></textarea>'\"><img src=x onerror=alert(2)>&amp;\u2028</script>"


@pytest.fixture
def outputs(three_passes: Path, tmp_path: Path) -> Path:
    """A folder with outputs in folders."""
    folder = tmp_path / "outputs"
    for name in ("a.mmif", "news/b.mmif", "news/1985/c #1%.mmif"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(three_passes, folder / name)
    (folder / ".backfill").mkdir()
    (folder / ".backfill" / "x.mmif").write_text("not to be read")
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    mmif = json.loads(path.read_text())
    change(mmif)
    path.write_text(json.dumps(mmif))


def sheets(target: Path) -> dict[str, str]:
    return {
        file.relative_to(target / "sheets").as_posix(): file.read_text() for file in (target / "sheets").rglob("*.html")
    }


def ages(target: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in target.rglob("*") if file.suffix in (".html", ".js")}


def test_every_file_has_a_sheet_and_its_place_in_the_index(outputs: Path, three_passes: Path) -> None:
    target = outputs / "report"
    steps: list[tuple[int, int]] = []
    summary = write(outputs, target, pictures=False, progress=lambda done, total: steps.append((done, total)))
    captions = [caption.text for row in read_sheet(three_passes).rows for caption in row.captions]
    assert summary == Summary(target / "index.html", 3, 3, 0, 3 * len(captions), 0, ())
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    made = sheets(target)
    assert set(made) == {"a.mmif.html", "news/b.mmif.html", "news/1985/c #1%.mmif.html"}
    known = load(target)
    assert [known[key].about["path"] for key in sorted(known)] == ["a.mmif", "news/1985/c #1%.mmif", "news/b.mmif"]
    for record in known.values():
        assert (target / unquote(record.about["sheet"])).read_text() == made[record.about["path"] + ".html"]
        assert all(json.dumps(text) in record.line for text in captions)
    home = {name: re.search('class="back" href="([^"]*)"', page).group(1) for name, page in made.items()}  # type: ignore[union-attr]
    assert all((target / "sheets" / name / ".." / up).resolve() == summary.index for name, up in home.items())


def test_pictures_are_the_frames_that_the_model_saw(one_pass: Path, broadcast: Broadcast, tmp_path: Path) -> None:
    write(one_pass, tmp_path / "report")
    (page,) = sheets(tmp_path / "report").values()
    shown = re.findall(r'<img src="data:image/webp;base64,([^"]*)" alt="frame at ([^"]*)"', page)
    times = [ms for row in read_sheet(one_pass).rows for ms in row.times]
    assert [when for _, when in shown] == [clock(ms) for ms in times]
    wanted = {broadcast.nearest_frame(ms) for ms in times}
    with av.open(str(broadcast.path)) as container:
        frames = {i: f.to_image() for i, f in enumerate(container.decode(video=0)) if i in wanted}
    for (content, _), ms in zip(shown, times, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
        expected = frames[broadcast.nearest_frame(ms)].resize((240, 180), Image.Resampling.BICUBIC)
        assert picture.size == (240, 180)
        # Compression changes pixels a little; another second's number, a lot.
        assert ImageStat.Stat(ImageChops.difference(picture, expected)).mean < [8, 8, 8]


def test_only_what_has_changed_is_made_again(outputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"
    write(outputs, target, pictures=False)
    before = ages(target)
    again = write(outputs, target, pictures=False)
    assert (again.files, again.made, again.removed) == (3, 0, 0)
    assert {name for name, age in ages(target).items() if before.get(name) != age} <= {str(target / "index.html")}

    def change(mmif: dict[str, Any]) -> None:
        texts = [a for a in mmif["views"][-2]["annotations"] if "origins" in a["properties"]]
        texts[0]["properties"]["text"]["@value"] = "an entirely new caption"

    edit(outputs / "news" / "b.mmif", change)
    assert write(outputs, target, pictures=False).made == 1
    after = ages(target)
    changed = {Path(name).name for name, age in after.items() if before.get(name) != age}
    assert changed >= {"index.html", "b.mmif.html"}
    assert not changed & {"a.mmif.html", "c #1%.mmif.html"}
    assert "an entirely new caption" in sheets(target)["news/b.mmif.html"]
    assert "an entirely new caption" in load(target)["news/b.mmif"].line
    named = re.findall(r"data/(\w{16}\.js)", (target / "index.html").read_text())
    assert named == [file.name for file in (target / "data").iterdir()]  # nothing is left of the older index


def test_a_file_that_is_gone_leaves_nothing(outputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"
    (outputs / "news" / "b.mmif").unlink()
    write(outputs, target)
    (outputs / "news" / "1985" / "c #1%.mmif").unlink()
    summary = write(outputs, target)
    assert (summary.files, summary.made, summary.removed) == (1, 0, 1)
    assert set(sheets(target)) == {"a.mmif.html"}
    assert [file.name for file in sorted((target / "previews").rglob("*.js"))] == ["a.mmif.js"]
    assert set(load(target)) == {"a.mmif"}


def test_a_broken_file_is_named_and_costs_the_others_nothing(outputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"
    write(outputs, target, pictures=False)
    (outputs / "a.mmif").write_text('{"documents": [')
    (outputs / "dangling.mmif").symlink_to(tmp_path / "nowhere")
    summary = write(outputs, target, pictures=False)
    assert summary.files == 4
    reasons = dict(summary.broken)
    assert set(reasons) == {"a.mmif", "dangling.mmif"}
    assert "This is not JSON" in reasons["a.mmif"]
    assert "No such file" in reasons["dangling.mmif"]
    index = (target / "index.html").read_text()
    assert "2 files can\u2019t be shown" in index
    assert "a.mmif</b>: This is not JSON" in index
    assert set(sheets(target)) == {"news/b.mmif.html", "news/1985/c #1%.mmif.html"}
    shutil.copy(outputs / "news" / "b.mmif", outputs / "a.mmif")
    assert write(outputs, target, pictures=False).made == 1
    assert "a.mmif.html" in sheets(target)


def test_without_its_video_a_sheet_says_so_until_the_video_is_there(
    outputs: Path, broadcast: Broadcast, tmp_path: Path
) -> None:
    target = tmp_path / "report"
    video = tmp_path / "moved.mp4"
    location = video.as_uri()
    shutil.rmtree(outputs / "news")
    edit(outputs / "a.mmif", lambda mmif: mmif["documents"][0]["properties"].update(location=location))
    summary = write(outputs, target)
    assert (summary.made, summary.without_pictures) == (1, 1)
    for page in sheets(target).values():
        assert f"No pictures of {location}: it is not where the MMIF says" in page
        assert "<img" not in page
        assert "slate 00" in page
    assert write(outputs, target).made == 0
    video.write_bytes(b"not a video")
    assert write(outputs, target).made == 1
    assert all("Cannot open the video" in page for page in sheets(target).values())
    shutil.copy(broadcast.path, video)
    summary = write(outputs, target)
    assert (summary.made, summary.without_pictures) == (1, 0)
    assert all("<img" in page and "No pictures" not in page for page in sheets(target).values())
    video.unlink()
    assert write(outputs, target).made == 0  # pictures that there are stay
    assert all("<img" in page for page in sheets(target).values())


def test_pictures_may_come_later(outputs: Path, tmp_path: Path) -> None:
    shutil.rmtree(outputs / "news")
    target = tmp_path / "report"
    assert write(outputs, target, pictures=False).made == 1
    assert not any("<img" in page for page in sheets(target).values())
    assert not (target / "previews").exists()
    assert write(outputs, target).made == 1
    assert all("<img" in page for page in sheets(target).values())
    assert write(outputs, target, pictures=False).made == 0


def test_a_run_that_is_broken_off_is_gone_on_from(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report"
    monkeypatch.setattr(report, "MOST_AT_ONCE", 1)

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(outputs, target, pictures=False, progress=stop)
    assert list(load(target)) == ["a.mmif"]
    assert "in\n    1 file" in (target / "index.html").read_text()
    assert write(outputs, target, pictures=False).made == 2


def test_a_page_that_cannot_be_written_ends_the_run_and_spoils_nothing(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report"
    write(outputs, target, pictures=False)
    before = sheets(target)
    for path in (outputs / "a.mmif", outputs / "news" / "b.mmif"):
        edit(path, lambda mmif: mmif["documents"][0]["properties"].update(mime="video/x-changed"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(outputs, target, pictures=False)
    monkeypatch.undo()
    assert sheets(target) == before
    assert not list(target.rglob("*.part"))
    assert len(load(target)) == 3
    assert write(outputs, target, pictures=False).made == 2


def test_two_at_once_on_one_report_are_refused(outputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"
    write(outputs, target, pictures=False)
    with (target / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ReportError, match="Another process"):
            write(outputs, target, pictures=False)
    assert write(outputs, target, pictures=False).made == 0


def test_nothing_to_report_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no file or folder .*nowhere"):
        write(tmp_path / "nowhere", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_can_t_be_read_is_not_taken_for_an_empty_one(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report"
    made = write(outputs, target, pictures=False)
    before = sheets(target)
    hidden, scan = outputs / "news", os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(hidden))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match=f"^The folder {hidden} can't be read: Permission denied.$"):
        write(outputs, target, pictures=False)
    with pytest.raises(OSError, match=f"^The folder {hidden} can't be read: Permission denied.$"):
        export(outputs, tmp_path / "exports")
    monkeypatch.undo()
    assert sheets(target) == before
    assert write(outputs, target, pictures=False).files == made.files


def test_hostile_texts_stay_texts(three_passes: Path, tmp_path: Path) -> None:
    mmif = json.loads(three_passes.read_text())
    mmif["documents"][0]["properties"]["location"] = "file:///x" + HOSTILE
    for annotation in mmif["views"][1]["annotations"]:
        annotation["properties"]["label"] = HOSTILE
    for view in mmif["views"][2:]:
        view["metadata"] |= {"pass": HOSTILE, "warnings": [HOSTILE, f"TimeFrame v_1:tf_1: {HOSTILE}"]}
        view["metadata"]["error"] = {"message": HOSTILE}
        view["metadata"]["appConfiguration"] |= {"prompt": [HOSTILE], "tfLabels": [HOSTILE], "model": HOSTILE}
        for annotation in view["annotations"]:
            if "text" in annotation["properties"]:
                annotation["properties"] |= {"text": {"@value": HOSTILE}, HOSTILE: HOSTILE, "finishReason": HOSTILE}
    folder = tmp_path / "<script>alert(3)<"
    folder.mkdir()
    name = HOSTILE.replace("/", "\\")
    (folder / f"{name}.mmif").write_text(json.dumps(mmif))
    (folder / f"{name} broken.mmif").write_text("no")
    target = tmp_path / "report"
    assert write(folder, target, pictures=False).captions > 10
    for page in [*sheets(target).values(), (target / "index.html").read_text()]:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert page.count("<script") == page.count("</script>")
        assert "</textarea>" not in page


def test_a_very_long_name_has_a_sheet(three_passes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "outputs"
    folder.mkdir()
    names = ["ä" * 124 + f"{number}.mmif" for number in range(2)]  # bytes: 254, of 255
    for name in names:
        shutil.copy(three_passes, folder / name)
    target = tmp_path / "report"
    assert write(folder, target, pictures=False).broken == ()
    found = [target / os.fsdecode(unquote_to_bytes(record.about["sheet"])) for record in load(target).values()]
    assert len(set(found)) == 2
    assert [names[0] in found[0].read_text(), names[1] in found[1].read_text()] == [True, True]
    assert write(folder, target, pictures=False).made == 0
