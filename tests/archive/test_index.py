"""The index of a report in a browser, opened from a folder: what it finds in one file, and in two thousand."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from archive.pages import when
from archive.reading import read_sheet
from archive.report import Summary, write
from tests.archive.conftest import SILENT
from tests.browser import complaints, wait

MANY = 2000
FOLDERS = ("news", "sport & weather", "archive 100%", "Zürich #1")


@dataclass(frozen=True)
class Found:
    """A caption: the file, the TimeFrame, its label and its text."""

    file: str
    time_frame: str
    label: str
    text: str


def words_of(number: int, row: int) -> str:
    return f" Reel {number:04}, shot {row}" + (": a zeppelin over Genève." if (number, row) == (1234, 7) else ".")


@pytest.fixture(scope="module")
def many(one_pass: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Found]]:
    """A report on two thousand files, made of one real output, and the captions in it in the order of the index."""
    folder = tmp_path_factory.mktemp("many")
    whole = json.loads(one_pass.read_text())
    annotations = [a["properties"] for view in whole["views"] for a in view["annotations"]]
    texts = [properties["text"] for properties in annotations if "origins" in properties]
    rows = read_sheet(one_pass).rows
    before = [text["@value"] for text in texts]
    files: dict[str, list[Found]] = {}
    for number in range(MANY):
        name = f"{FOLDERS[number % len(FOLDERS)]}/tape {number:04}.mmif"
        files[name] = []
        for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
            text["@value"] = before[index] + words_of(number, index)
            files[name].append(Found(name, row.time_frame, row.label, text["@value"]))
        (folder / "outputs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "outputs" / name).write_text(json.dumps(whole))
    summary = write(folder / "outputs", folder / "report", pictures=False)
    assert (summary.files, summary.captions, summary.broken) == (MANY, MANY * len(rows), ())
    return summary.index, [found for name in sorted(files) for found in files[name]]


@pytest.fixture
def one(three_passes: Path, tmp_path: Path) -> Summary:
    """A report on one file."""
    return write(three_passes, tmp_path / "report")


def open_index(browser: Chrome, index: Path, fragment: str = "") -> None:
    browser.get("about:blank")  # the same page with another fragment would not be loaded again
    browser.get(index.as_uri() + fragment)
    wait(browser).until(lambda _: browser.execute_script("return document.body.dataset.state") == "ready")


def settled(browser: Chrome) -> None:
    """Wait until what is shown is what is asked for."""
    browser.execute_async_script("search().then(arguments[0])")


def ask(browser: Chrome, words: str) -> None:
    query = browser.find_element(By.ID, "query")
    query.send_keys(Keys.CONTROL, "a")
    query.send_keys(words or Keys.DELETE)
    settled(browser)


def choose(browser: Chrome, select: str, start: str) -> None:
    chooser = Select(browser.find_element(By.ID, select))
    chooser.select_by_visible_text(next(o.text for o in chooser.options if o.text.startswith(start)))
    settled(browser)


def hits(browser: Chrome) -> list[dict[str, Any]]:
    """All results, those below the edge of the window too, as they are shown."""
    return browser.execute_script(  # type: ignore[no-any-return]
        """
        while (shown < list.length) more();
        const text = (item, what) => item.querySelector(what)?.textContent ?? "";
        return [...document.querySelectorAll("#results > li")].map(item => ({
          file: text(item, "a, .name"), href: item.querySelector("a")?.href ?? "", label: text(item, ".label"),
          pass: text(item, ".pass"), text: text(item, ".caption"), when: text(item, ".when"),
          remarks: [...item.querySelectorAll(".remarks li")].map(remark => remark.textContent),
        }));"""
    )


def status(browser: Chrome) -> str:
    return browser.find_element(By.ID, "count").text


def texts(browser: Chrome) -> list[tuple[str, str]]:
    return [(hit["file"], hit["text"]) for hit in hits(browser)]


def test_one_file_is_searched_filtered_and_opened(browser: Chrome, one: Summary, three_passes: Path) -> None:
    sheet = read_sheet(three_passes)
    said = [(row, caption) for row in sheet.rows for caption in row.captions]
    open_index(browser, one.index)
    assert [hit["file"] for hit in hits(browser)] == ["three.mmif"]
    browser.find_element(By.CSS_SELECTOR, "[data-view=captions]").click()
    settled(browser)
    assert [(hit["text"], hit["pass"], hit["label"], hit["when"]) for hit in hits(browser)] == [
        (caption.text, caption.pass_name, row.label, when(row)) for row, caption in said
    ]
    choose(browser, "pass", "signs")
    choose(browser, "label", "credits")
    expected = [caption.text for row, caption in said if caption.pass_name == "signs" and row.label == "credits"]
    assert [hit["text"] for hit in hits(browser)] == expected != []
    choose(browser, "label", "All")
    choose(browser, "pass", "All")
    choose(browser, "warning", "cut at the token limit")
    assert [hit["text"] for hit in hits(browser)] == [c.text for _, c in said if c.pass_name == "slates"]
    choose(browser, "warning", "no caption")
    (silent,) = hits(browser)
    assert (silent["text"], len(silent["remarks"])) == ("", 1)
    assert SILENT in silent["remarks"][0]
    choose(browser, "warning", "With or without")
    _, caption = said[-1]
    ask(browser, f'"{caption.text}"')
    found = [(r, c) for r, c in said if c.text == caption.text]
    assert [hit["text"] for hit in hits(browser)] == [c.text for _, c in found]
    (image,) = browser.find_elements(By.CSS_SELECTOR, "#results img")[:1]
    wait(browser).until(lambda _: image.get_property("naturalWidth") == 112)
    browser.find_element(By.CSS_SELECTOR, "#results .head a").click()
    article = wait(browser).until(lambda _: browser.find_element(By.CSS_SELECTOR, "article:target"))
    assert article.get_attribute("id") == found[0][0].anchor
    top = browser.execute_script("return arguments[0].getBoundingClientRect().top", article)
    assert 0 <= top < browser.execute_script("return innerHeight")
    assert caption.text in [e.text for e in article.find_elements(By.CLASS_NAME, "caption")]
    assert complaints(browser) == []


def test_what_the_model_was_least_sure_of_can_be_read_first(browser: Chrome, sure: Path, tmp_path: Path) -> None:
    mmif = json.loads(sure.read_text())
    views = {view["metadata"].get("pass"): view["annotations"] for view in mmif["views"]}
    confidences = [round(0.9 - number / 10, 1) for number in range(4)]
    texts = [a["properties"] for a in views["scene"] if "text" in a["properties"]]
    for properties, confidence in zip(texts, confidences, strict=False):
        properties |= {"confidence": confidence, "text": {"@value": f"sure {confidence}"}}
    path = tmp_path / "doubts.mmif"
    path.write_text(json.dumps(mmif))
    open_index(browser, write(path, tmp_path / "report", pictures=False).index)
    choose(browser, "order", "Least sure first")
    found = [hit["text"] for hit in hits(browser)]
    assert found[:4] == ["sure 0.6", "sure 0.7", "sure 0.8", "sure 0.9"]
    unsure = [a["properties"]["text"]["@value"] for a in views["slates"] if "text" in a["properties"]]
    assert found[-len(unsure) :] == unsure  # of which nothing is known
    choose(browser, "doubt", "Confidence below 0.8")
    assert [hit["text"] for hit in hits(browser)] == ["sure 0.6", "sure 0.7"]
    assert status(browser) == "2 captions in 1 file"
    assert browser.execute_script("return location.hash") == "#doubt=0.8&order=doubtful"
    open_index(browser, tmp_path / "report" / "index.html", "#doubt=0.95&order=sure")
    assert [hit["text"] for hit in hits(browser)] == ["sure 0.9", "sure 0.8", "sure 0.7", "sure 0.6"]
    assert complaints(browser) == []


def test_where_nothing_is_known_of_it_nobody_is_asked(browser: Chrome, one: Summary) -> None:
    open_index(browser, one.index)
    assert not browser.find_element(By.ID, "doubt").is_displayed()
    assert not browser.find_element(By.ID, "order").is_displayed()


def test_two_thousand_files_are_searched_filtered_and_opened(browser: Chrome, many: tuple[Path, list[Found]]) -> None:
    index, captions = many
    open_index(browser, index)
    files = sorted({found.file for found in captions})
    assert len(browser.find_elements(By.CSS_SELECTOR, "#results > li")) < 200  # the others when they come into sight
    assert [hit["file"] for hit in hits(browser)] == files
    assert status(browser) == f"{len(captions):,} captions in 2,000 files"

    ask(browser, "reel 1234")
    expected = [(c.file, c.text) for c in captions if "Reel 1234," in c.text]
    assert texts(browser) == expected
    assert status(browser) == f"{len(expected)} captions in 1 file"
    choose(browser, "label", "slate")
    assert texts(browser) == [(c.file, c.text) for c in captions if "Reel 1234," in c.text and c.label == "slate"]
    ask(browser, "")
    slates = [(c.file, c.text) for c in captions if c.label == "slate"]
    assert texts(browser) == slates
    choose(browser, "folder", "Zürich #1")
    assert texts(browser) == [(file, text) for file, text in slates if file.startswith("Zürich #1/")]
    choose(browser, "label", "All")
    choose(browser, "folder", "All")

    ask(browser, "tape 0077")  # a name, not a caption
    assert status(browser) == "0 captions in 0 files; 1 more file by name"
    browser.find_element(By.CSS_SELECTOR, "[data-view=files]").click()
    settled(browser)
    assert [hit["file"] for hit in hits(browser)] == [next(file for file in files if "0077" in file)]
    browser.find_element(By.CSS_SELECTOR, "[data-view=captions]").click()

    ask(browser, "GENEVE zeppelin")  # whatever the case and the accents
    (only,) = [c for c in captions if "zeppelin" in c.text]
    assert texts(browser) == [(only.file, only.text)]
    assert [mark.text for mark in browser.find_elements(By.TAG_NAME, "mark")] == ["zeppelin", "Genève"]
    browser.find_element(By.CSS_SELECTOR, "#results .head a").click()
    article = wait(browser).until(lambda _: browser.find_element(By.CSS_SELECTOR, "article:target"))
    assert browser.title == only.file
    assert article.get_attribute("id") == f"tf-{only.time_frame}"
    assert article.find_element(By.CLASS_NAME, "caption").text == only.text

    browser.back()
    wait(browser).until(lambda _: browser.execute_script("return document.body.dataset.state") == "ready")
    assert browser.find_element(By.ID, "query").get_property("value") == "GENEVE zeppelin"
    assert texts(browser) == [(only.file, only.text)]
    assert complaints(browser) == []


def test_results_are_made_as_they_come_into_sight(browser: Chrome, many: tuple[Path, list[Found]]) -> None:
    index, captions = many
    open_index(browser, index, "#query=reel&view=captions")
    made = partial(browser.execute_script, "return document.querySelectorAll('#results > li').length")
    first = made()
    assert first < 200
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    wait(browser).until(lambda _: made() > first)
    shown = [e.text for e in browser.find_elements(By.CSS_SELECTOR, "#results .caption")[:80]]
    assert shown == [c.text for c in captions[: len(shown)]]
    assert status(browser).startswith(f"{len(captions):,} captions")


def test_a_link_to_a_search_leads_there(browser: Chrome, many: tuple[Path, list[Found]]) -> None:
    index, captions = many
    open_index(browser, index, "#query=zeppelin")
    assert texts(browser) == [(c.file, c.text) for c in captions if "zeppelin" in c.text]
    browser.execute_script("location.hash = 'query=%22reel+0003%22&label=%3Dslate'")
    wait(browser).until(lambda _: browser.find_element(By.ID, "query").get_property("value") == '"reel 0003"')
    settled(browser)
    assert texts(browser) == [(c.file, c.text) for c in captions if "Reel 0003" in c.text and c.label == "slate"]


def test_data_that_is_missing_is_said(browser: Chrome, one: Summary) -> None:
    for chunk in (one.index.parent / "data").iterdir():
        chunk.unlink()
    open_index(browser, one.index)
    trouble = browser.find_element(By.ID, "trouble")
    assert trouble.is_displayed()
    assert "1 of 1 files are missing" in trouble.text


def test_hostile_texts_are_shown_as_they_are(browser: Chrome, three_passes: Path, tmp_path: Path) -> None:
    hostile = "</script><script>document.title = 'hacked'</script><img src=x onerror=\"document.title = 'hacked'\">"
    mmif = json.loads(three_passes.read_text())
    for view in mmif["views"][2:]:
        view["metadata"] |= {"pass": hostile, "warnings": [f"TimeFrame v_1:tf_1: {hostile}", hostile]}
    for view in mmif["views"]:
        for annotation in view["annotations"]:
            properties = annotation["properties"]
            if "text" in properties:
                properties["text"]["@value"] = hostile
            elif "targets" in properties:
                properties["label"] = hostile
    folder = tmp_path / "<script>document.title = 'hacked'<"
    folder.mkdir()
    name = "</script><img src=x onerror=alert(1)>".replace("/", "\\") + ".mmif"
    (folder / name).write_text(json.dumps(mmif))
    open_index(browser, write(folder, tmp_path / "report", pictures=False).index, "#view=captions")
    found = hits(browser)
    assert {(hit["file"], hit["label"], hit["text"]) for hit in found} == {(name, hostile, hostile)}
    assert browser.title == folder.name
    choose(browser, "warning", "With a warning")
    assert hostile in [remark for hit in hits(browser) for remark in hit["remarks"]]
    browser.get(found[0]["href"])
    assert browser.title == browser.find_element(By.TAG_NAME, "h1").text == name
    assert {e.text for e in browser.find_elements(By.CLASS_NAME, "caption")} == {hostile}
    assert complaints(browser) == []
