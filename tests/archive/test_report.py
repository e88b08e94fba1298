"""The page of captions, as text and in a real browser without a network."""

import re
from pathlib import Path

import pytest
from mmif import Mmif
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from app import SmolVLM2Captioner
from archive.report import Sheet, clock, read_sheet, render, with_thumbnails
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from sampling.video import ByteBudget
from tests.browser import complaints, wait
from tests.captions import APP, captions


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


def _shown(browser: Chrome) -> list[str]:
    rows = browser.find_elements(By.TAG_NAME, "article")
    return [str(row.get_attribute("id")) for row in rows if row.is_displayed()]


def test_in_a_browser_every_row_shows_its_caption_and_its_frames(browser: Chrome, sheet: Sheet, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(render(sheet, "A broadcast"))
    browser.get(page.as_uri())
    rows = {str(row.get_attribute("id")): row for row in browser.find_elements(By.TAG_NAME, "article")}
    assert _shown(browser) == [row.time_frame for row in sheet.rows]
    for row in sheet.rows:
        article = rows[row.time_frame]
        browser.execute_script("arguments[0].scrollIntoView()", article)
        images = article.find_elements(By.TAG_NAME, "img")
        wait(browser).until(lambda _, images=images: all(image.get_property("naturalWidth") for image in images))
        assert len(images) == len(row.times)
        assert article.find_element(By.CLASS_NAME, "caption").text == row.caption
    slates = browser.find_element(By.CSS_SELECTOR, "button[data-label=slate]")
    slates.click()
    assert _shown(browser) == [row.time_frame for row in sheet.rows if row.label == "slate"]
    slates.click()
    browser.find_element(By.ID, "search").send_keys("0007")
    assert _shown(browser) == [row.time_frame for row in sheet.rows if "0007" in row.caption]
    assert complaints(browser) == []
