"""A contact sheet in a browser."""

from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from archive.pages import clock, render_sheet, when
from archive.reading import read_sheet
from archive.sheet import Caption, Sheet
from archive.thumbnails import MOST, illustrate, spread
from sampling.video import ByteBudget
from tests.archive.conftest import SILENT
from tests.browser import complaints, wait


@pytest.fixture(scope="module")
def sheet(three_passes: Path) -> Sheet:
    return illustrate(read_sheet(three_passes), ByteBudget()).sheet


@pytest.fixture
def page(browser: Chrome, sheet: Sheet, tmp_path: Path) -> Chrome:
    """A sheet, open."""
    path = tmp_path / "sheet.html"
    path.write_text(render_sheet(sheet, "Tape 7 <draft>"))
    browser.get(path.as_uri())
    return browser


def shown(page: Chrome) -> list[str]:
    """The rows that can be seen."""
    rows = page.find_elements(By.TAG_NAME, "article")
    return [str(row.get_attribute("id")).removeprefix("tf-") for row in rows if row.is_displayed()]


def captions(page: Chrome) -> list[str]:
    return [e.text for e in page.find_elements(By.CLASS_NAME, "caption") if e.is_displayed()]


def choose(page: Chrome, select: str, start: str) -> None:
    chooser = Select(page.find_element(By.ID, select))
    chooser.select_by_visible_text(next(o.text for o in chooser.options if o.text.startswith(start)))


def test_every_row_shows_its_captions_and_its_frames(page: Chrome, sheet: Sheet) -> None:
    assert shown(page) == [row.time_frame for row in sheet.rows]
    assert page.title == page.find_element(By.TAG_NAME, "h1").text == "Tape 7 <draft>"
    for row, article in zip(sheet.rows, page.find_elements(By.TAG_NAME, "article"), strict=True):
        page.execute_script("arguments[0].scrollIntoView()", article)
        images = article.find_elements(By.TAG_NAME, "img")
        wait(page).until(lambda _, images=images: all(image.get_property("naturalWidth") for image in images))
        assert [image.get_attribute("alt") for image in images] == [f"frame at {clock(ms)}" for ms in row.times]
        assert [e.text for e in article.find_elements(By.CLASS_NAME, "caption")] == [c.text for c in row.captions]
        heads = [e.text for e in article.find_elements(By.CSS_SELECTOR, ".text .pass")]
        assert heads == [caption.pass_name for caption in row.captions]
        cut = [e.text for e in article.find_elements(By.CSS_SELECTOR, ".text .flag")]
        assert cut == ["cut at the token limit" for caption in row.captions if caption.marks]
        assert [e.text for e in article.find_elements(By.CSS_SELECTOR, ".remarks li")] == [r.text for r in row.remarks]
        assert article.find_element(By.CLASS_NAME, "when").text == when(row)
    assert complaints(page) == []


def test_rows_are_searched_and_filtered(page: Chrome, sheet: Sheet) -> None:
    slates = [row.time_frame for row in sheet.rows if row.label == "slate"]
    choose(page, "label", "slate")
    assert shown(page) == slates
    choose(page, "pass", "slates")
    assert captions(page) == [c.text for row in sheet.rows for c in row.captions if c.pass_name == "slates"]
    choose(page, "label", "All")
    assert shown(page) == slates
    choose(page, "pass", "All")
    choose(page, "warning", "cut at the token limit")
    assert shown(page) == slates
    choose(page, "warning", "no caption")
    assert shown(page) == [SILENT]
    choose(page, "warning", "With or without")
    word = sheet.rows[5].captions[0].text.split()[1]
    page.find_element(By.ID, "query").send_keys(word.upper())
    matching = [row.time_frame for row in sheet.rows if any(word in caption.text for caption in row.captions)]
    assert shown(page) == matching
    assert {mark.text for mark in page.find_elements(By.TAG_NAME, "mark")} == {word}
    assert page.find_element(By.ID, "count").text == f"{len(matching)} of {len(sheet.rows)}"
    page.execute_script("location.hash = arguments[0]", f"tf-{slates[-1]}")
    wait(page).until(lambda _: slates[-1] in shown(page))
    assert complaints(page) == []


def doubted(sheet: Sheet, confidences: list[list[float | None]]) -> Sheet:
    """The sheet with as many rows, each with as many captions of these confidences."""

    def caption(told: float | None) -> Caption:
        return Caption("td", "scene", f"says {told}", {} if told is None else {"confidence": told})

    rows = [
        replace(row, captions=tuple(map(caption, told)), thumbnails=(), remarks=())
        for row, told in zip(sheet.rows, confidences)
    ]
    return replace(sheet, rows=tuple(rows))


def test_what_the_model_was_least_sure_of_can_be_read_first(browser: Chrome, sheet: Sheet, tmp_path: Path) -> None:
    path = tmp_path / "sheet.html"
    doubtful = doubted(sheet, [[0.9, 0.4], [None], [0.3], [], [0.99]])
    path.write_text(render_sheet(doubtful, "Doubts"))
    browser.get(path.as_uri())
    ids = [row.time_frame for row in doubtful.rows]
    choose(browser, "order", "Least sure")
    assert shown(browser) == [ids[place] for place in (2, 0, 4, 1, 3)]
    choose(browser, "order", "Surest")
    assert shown(browser) == [ids[place] for place in (4, 0, 2, 1, 3)]
    choose(browser, "doubt", "Confidence below 0.5")
    assert captions(browser) == ["says 0.4", "says 0.3"]
    choose(browser, "order", "In their order")
    assert shown(browser) == [ids[0], ids[2]]
    choose(browser, "doubt", "However")
    assert shown(browser) == ids
    assert complaints(browser) == []


def test_where_nothing_is_known_of_it_nobody_is_asked(sheet: Sheet) -> None:
    assert 'id="doubt"' not in render_sheet(sheet, "sheet")
    assert 'id="doubt"' in render_sheet(doubted(sheet, [[0.5]]), "sheet")


def test_of_many_frames_some_are_shown(sheet: Sheet) -> None:
    assert spread(range(3), MOST) == (0, 1, 2)
    assert spread(range(84), MOST) == (7, 21, 35, 49, 63, 77)
    many = replace(sheet.rows[0], times=tuple(range(84)), thumbnails=sheet.rows[0].thumbnails)
    page = render_sheet(replace(sheet, rows=(many,)), "many")
    assert f"and {84 - len(many.thumbnails)} more frames" in page


def test_what_captions_say_of_themselves_is_shown(sheet: Sheet) -> None:
    row = next(row for row in sheet.rows if row.captions)
    marks = {"finishReason": "repetition", "longestEdge": 768, "confidence": 0.8765432, "reviewed": True}
    choices = {"<b>": 0.1, "slate": 0.876, "bars": 0.02, "chyron": 0.003, "other": 0.001}
    marked = replace(row, captions=(replace(row.captions[0], marks=marks, choices=choices),))
    page = render_sheet(replace(sheet, rows=(marked,)), "marks")
    for text in ("ended by repetition", "frames shown at 768 px"):
        assert f'<span class="flag">{text}</span>' in page
        assert f'<option value="={text}">' in page
    for text in (
        "confidence 0.877",
        "reviewed: True",
        "slate 0.876, &lt;b&gt; 0.1, bars 0.02, chyron 0.003, 1 more",
    ):
        assert f'<span class="when">{text}</span>' in page
        assert f'value="={text}"' not in page


def test_times() -> None:
    assert [clock(ms) for ms in (0, 62_500, 3_600_000, -1_200)] == ["0:00:00", "0:01:02.5", "1:00:00", "-0:00:01.2"]
