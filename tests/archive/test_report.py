"""The page of captions, as text and in a real browser without a network."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mmif import Mmif

from app import SmolVLM2Captioner
from archive.report import Sheet, clock, read_sheet, render, with_thumbnails
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from sampling.video import ByteBudget
from tests.captions import APP, captions

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def captioned(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> str:
    return captioner.annotate(swt_mmif(broadcast), parallelPrompts=["8"])


@pytest.fixture(scope="module")
def sheet(captioned: str, broadcast: Broadcast) -> Sheet:
    bare = read_sheet(Mmif(captioned), APP)
    return Sheet(
        bare.model, bare.videos, tuple(with_thumbnails(bare.rows, broadcast.path, ByteBudget())), ("Careful.",)
    )


def test_the_rows_are_the_captions(sheet: Sheet, captioned: str, broadcast: Broadcast) -> None:
    found = captions(captioned)
    assert [(row.time_frame, row.caption, list(row.times)) for row in sheet.rows] == [
        (caption.time_frame, caption.text, caption.times) for caption in found
    ]
    assert [row.label for row in sheet.rows] == [segment.kind for segment in broadcast.segments]
    assert sheet.model.startswith("demo@")
    assert sheet.videos == {"d1": broadcast.path.as_uri()}


def test_the_page_needs_nothing_from_elsewhere(sheet: Sheet) -> None:
    page = render(sheet, "Tape 7 <draft>")
    assert "Tape 7 &lt;draft&gt;" in page
    assert "Careful." in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == sum(len(row.times) for row in sheet.rows)
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "@import" not in page


def test_a_video_that_is_gone_leaves_a_note_in_place_of_pictures(sheet: Sheet, tmp_path: Path) -> None:
    rows = tuple(with_thumbnails(sheet.rows, tmp_path / "gone.mp4", ByteBudget()))
    assert [row.caption for row in rows] == [row.caption for row in sheet.rows]
    assert all(thumbnail.source == "" for row in rows for thumbnail in row.thumbnails)
    assert "no picture" in render(Sheet("", {}, rows, ()), "Without")


def test_clock() -> None:
    assert [clock(ms) for ms in (0, 62_500, 3_600_000)] == ["0:00:00", "0:01:02.5", "1:00:00"]


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_in_a_browser_every_row_shows_its_caption_and_its_frames(sheet: Sheet, tmp_path: Path) -> None:
    probe = """
      <script>addEventListener("load", () => {
        const rows = [...document.querySelectorAll("article")];
        const button = document.querySelector("button[data-label=slate]");
        const images = [...document.images];
        document.body.dataset.loaded = images.filter(i => i.complete && i.naturalWidth > 0).length;
        document.body.dataset.seen = rows.filter(r => r.querySelector(".caption").offsetHeight > 0).length;
        button.click();
        document.body.dataset.slates = rows.filter(r => !r.hidden).map(r => r.id).join(" ");
        button.click();
        search.value = "0007";
        search.dispatchEvent(new Event("input"));
        document.body.dataset.searched = rows.filter(r => !r.hidden).map(r => r.id).join(" ");
      });</script>"""
    page = tmp_path / "index.html"
    # Pictures out of sight are loaded late: not here, where all are to be looked at.
    content = render(sheet, "A broadcast").replace(' loading="lazy"', "")
    page.write_text(content.replace("</body>", probe + "</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [str(BROWSER), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    body = dict(re.findall(r'data-(\w+)="([^"]*)"', re.search(r"<body[^>]*>", dom).group()))  # type: ignore[union-attr]
    assert int(body["loaded"]) == sum(len(row.times) for row in sheet.rows)
    assert int(body["seen"]) == len(sheet.rows)
    assert body["slates"].split() == [row.time_frame for row in sheet.rows if row.label == "slate"]
    assert body["searched"].split() == [row.time_frame for row in sheet.rows if "0007" in row.caption]
    for row in sheet.rows:
        article = re.search(rf'<article id="{row.time_frame}".*?</article>', dom, re.DOTALL)
        assert article is not None
        assert row.caption in html.unescape(article.group())
