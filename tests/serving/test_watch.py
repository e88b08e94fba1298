"""Metrics and the status page over a real engine: what a call leaves there, and what a browser shows of it."""

import json
import re
import threading
from collections.abc import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from serving import front
from serving.front import Service, restified
from serving.settings import ServingSettings
from tests.browser import PHONE, complaints, look, wait
from tests.captions import captions, marks
from tests.listening import listening

Key = tuple[str, frozenset[tuple[str, str]]]


def _post(url: str, mmif: str, **parameters: object) -> requests.Response:
    return requests.post(url + "/", data=mmif.encode(), params=parameters, timeout=600)  # type: ignore[arg-type]


def _numbers(url: str) -> dict[Key, float]:
    """All samples of /metrics; each may be there once only."""
    found: dict[Key, float] = {}
    for family in text_string_to_metric_families(requests.get(url + "/metrics", timeout=60).text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def _own(numbers: dict[Key, float], name: str, **labels: str) -> float:
    return numbers[f"captioner_{name}", frozenset(labels.items())]


def test_a_call_is_counted_by_what_it_came_to(url: str, broadcast: Broadcast) -> None:
    before = _numbers(url)
    answer = _post(url, swt_mmif(broadcast, labels=["slate"]), parallelPrompts=4)
    made = captions(answer.text)
    after = _numbers(url)

    def risen(name: str, **labels: str) -> float:
        return _own(after, name, **labels) - _own(before, name, **labels)

    assert risen("calls_total", outcome="captioned", priority="normal") == 1
    assert risen("call_duration_seconds_count", priority="normal") == 1
    assert risen("captions_total", finish_reason="stop") == len(made) > 1
    assert risen("prompts_total", outcome="answered") == len(made)
    assert risen("prompt_duration_seconds_count") == len(made)
    assert risen("frames_total") == sum(len(caption.times) for caption in made)
    assert risen("tokens_total", kind="completion") > len(made)
    assert risen("tokens_total", kind="prompt") > risen("tokens_total", kind="completion")
    assert _own(after, "engine_state", state="ready") == 1
    assert _own(after, "held_bytes", of="frames") == 0
    assert all(value == 0 for (name, _), value in after.items() if name == "captioner_prompts_in_flight")


def test_captions_that_go_in_circles_and_how_sure_the_model_was_are_counted(url: str, broadcast: Broadcast) -> None:
    before = _numbers(url)
    mmif = swt_mmif(broadcast, labels=["slate"])
    again = {"type": "array", "items": {"const": "again"}, "minItems": 100, "maxItems": 100}
    looping = {"outputSchema": json.dumps(again), "maxNewTokens": 120, "captionConfidence": True}
    stopped = _post(url, mmif, **looping, repetitionGuard=True).text
    endless = _post(url, mmif, **looping).text
    after = _numbers(url)
    made = len(captions(stopped))
    assert {mark["finishReason"] for mark in marks(stopped)} == {"repetition"}
    assert {mark["finishReason"] for mark in marks(endless)} == {"length"}
    for caption, whole in zip(captions(stopped), captions(endless), strict=True):
        assert whole.text.startswith(caption.text)
        assert len(caption.text) < len(whole.text)

    def risen(name: str, **labels: str) -> float:
        return _own(after, name, **labels) - _own(before, name, **labels)

    assert risen("captions_total", finish_reason="repetition") == made > 1
    assert risen("captions_total", finish_reason="length") == made
    assert risen("caption_confidence_count") == 2 * made
    assert 0 < risen("caption_confidence_sum") <= 2 * made


def test_warnings_are_counted_by_cause_and_shown_without_words(url: str, broadcast: Broadcast) -> None:
    before = _numbers(url)
    mmif = swt_mmif(broadcast, labels=["slate"])
    assert _post(url, mmif, tfLabels="weather").status_code == 200
    failed = _post(url, mmif.replace("broadcast.mp4", "gone.mp4"), prompt="WHISPERED")
    assert failed.status_code == 500
    after = _numbers(url)
    for cause in ("nothing_selected", "unreadable_video"):
        assert _own(after, "warnings_total", cause=cause) - _own(before, "warnings_total", cause=cause) == 1
    failures = {"outcome": "failed", "priority": "normal"}
    assert _own(after, "calls_total", **failures) - _own(before, "calls_total", **failures) == 1
    status = requests.get(url + "/status.json", timeout=60)
    latest, earlier = status.json()["warnings"][:2]
    assert (latest["cause"], earlier["cause"]) == ("unreadable_video", "nothing_selected")
    assert latest["time_frames"][0].endswith("tf_1")
    for page in (status.text, requests.get(url + "/metrics", timeout=60).text):
        assert "WHISPERED" not in page and "gone.mp4" not in page


def test_names_follow_prometheus_rules(url: str) -> None:
    text = requests.get(url + "/metrics", timeout=60).text
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("captioner_"):
            continue
        assert re.fullmatch(r"captioner(_[a-z]+)+", family.name)
        assert family.documentation and not family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert not re.search(r"_(ms|milliseconds|mib|kib|percent|count|sum|total)$", family.name)
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")


def test_the_page_needs_nothing_from_elsewhere_and_may_do_nothing_else(url: str) -> None:
    answer = requests.get(url + "/status", timeout=60)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert re.findall(r'(?:src|href)="([^"]*)', answer.text) == ["data:,"]
    assert "@import" not in answer.text and "url(" not in answer.text


def test_in_a_browser_a_call_is_seen_to_get_on(url: str, broadcast: Broadcast, browser: Chrome) -> None:
    browser.get(url + "/status")
    state = browser.find_element(By.ID, "state")
    wait(browser).until(lambda _: state.text == "ready")
    answers: list[requests.Response] = []
    sent = {"tfSamplingMode": "all", "maxImagesPerPrompt": 1, "parallelPrompts": 4}
    thread = threading.Thread(target=lambda: answers.append(_post(url, swt_mmif(broadcast), **sent)))
    thread.start()
    bars = "#calls .bar"
    first = wait(browser).until(lambda _: _progress(browser, bars, above=0))
    second = wait(browser).until(lambda _: _progress(browser, bars, above=first[0]))
    assert first[1] == second[1]
    assert browser.find_element(By.CSS_SELECTOR, "#calls .generating").is_displayed()
    look(browser, PHONE, dark=True)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    thread.join()
    assert len(captions(answers[0].text)) == first[1]
    wait(browser).until(lambda _: browser.find_element(By.ID, "no-calls").is_displayed())
    assert browser.find_elements(By.CSS_SELECTOR, bars) == []
    assert complaints(browser) == []


def test_in_a_browser_a_call_is_cancelled_by_two_presses(url: str, broadcast: Broadcast, browser: Chrome) -> None:
    answers: list[requests.Response] = []
    sent = {
        "tfSamplingMode": "all",
        "maxImagesPerPrompt": 1,
        "prompt": ["What is seen?"] * 5,
        "promptMode": "user-only",
    }
    thread = threading.Thread(target=lambda: answers.append(_post(url, swt_mmif(broadcast), **sent)))
    browser.get(url + "/status")
    thread.start()
    wait(browser).until(lambda _: _progress(browser, "#calls .bar", above=0))
    (call,) = requests.get(url + "/calls", timeout=60).json()
    button = browser.find_element(By.CSS_SELECTOR, "#calls button")
    button.click()
    assert (button.text, button.accessible_name) == ("Really cancel?", f"Really cancel call {call['id']}?")
    assert requests.get(url + "/calls", timeout=60).json()[0]["cancelled"] is None
    button.click()
    wait(browser).until(lambda _: browser.find_element(By.ID, "no-calls").is_displayed())
    assert browser.find_element(By.ID, "told").get_property("textContent") == f"Call {call['id']} is cancelled."
    thread.join()
    assert (answers[0].status_code, answers[0].headers["X-Call-Id"]) == (409, call["id"])
    assert answers[0].json()["cause"] == "deleted"
    assert complaints(browser) == []


def test_in_a_browser_a_server_that_goes_away_is_seen_to_and_when_it_is_back(
    captioner: SmolVLM2Captioner, browser: Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = ["ready"]
    monkeypatch.setattr(captioner.engine, "on_prompt", captioner.engine.on_prompt)  # is given back afterwards
    monkeypatch.setattr(front, "_state", lambda *_: states[-1])
    app = restified(captioner).flask_app

    def shows(expected: str, *words: str, stale: bool) -> bool:
        # As if its tab was looked at again, so that it needn't be waited for.
        browser.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
        said = browser.find_element(By.ID, "notice").text
        return (
            browser.find_element(By.ID, "state").text == expected
            and all(word in said for word in words)
            and ("stale" in browser.find_element(By.ID, "body").get_attribute("class").split()) is stale
        )

    with listening(app) as address:
        browser.get(f"http://{address}/status")
        wait(browser).until(lambda _: shows("ready", stale=False))
        assert not browser.find_element(By.ID, "notice").is_displayed()
        states.append("restarting")
        wait(browser).until(lambda _: shows("restarting", "died or hung", "Calls in flight go on", stale=False))
        states.append("dead")
        wait(browser).until(lambda _: shows("dead", "could not be brought back", stale=False))
    words = ("The server doesn't answer.", "When it last answered it was dead.", "What is shown is", "s old.")
    wait(browser).until(lambda _: shows("gone", *words, stale=True))
    assert all("net::ERR_" in line for line in complaints(browser))  # and no script's
    states.append("ready")
    with listening(app, int(address.rpartition(":")[2])):
        wait(browser).until(lambda _: shows("ready", stale=False))
        assert not browser.find_element(By.ID, "notice").is_displayed()
    complaints(browser)


@pytest.fixture
def locked(captioner: SmolVLM2Captioner, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that shows nothing to those who haven't its token."""
    monkeypatch.setattr(captioner.engine, "on_prompt", captioner.engine.on_prompt)  # is given back afterwards
    settings = ServingSettings(token="open sesame", token_for_reading=True)
    with listening(restified(captioner, Service.of(captioner, settings)).flask_app) as address:
        yield f"http://{address}"


def test_in_a_browser_the_token_is_asked_for_and_kept(locked: str, browser: Chrome) -> None:
    browser.get(locked + "/status")
    state, field = browser.find_element(By.ID, "state"), browser.find_element(By.ID, "token")
    wait(browser).until(lambda _: state.text == "locked")
    assert not browser.find_element(By.ID, "body").is_displayed()
    field.send_keys("open says me", Keys.ENTER)
    wait(browser).until(lambda _: browser.find_element(By.ID, "why").text == "The server doesn't take this token.")
    field.send_keys("open sesame", Keys.ENTER)
    wait(browser).until(lambda _: state.text == "ready")
    assert not field.is_displayed()
    browser.refresh()
    wait(browser).until(lambda _: browser.find_element(By.ID, "state").text == "ready")
    assert "sesame" not in browser.current_url
    assert {"401"} >= {re.findall(r"\b401\b", line)[0] for line in complaints(browser)}  # of the looks before


def _progress(browser: Chrome, selector: str, above: int) -> tuple[int, int] | None:
    """How far the one call is, and how far it has to go, once it is further than ``above``."""
    shown = browser.execute_script(
        "const bar = document.querySelector(arguments[0]); return bar && [bar.ariaValueNow, bar.ariaValueMax]", selector
    )
    if shown is None or int(shown[0]) <= above:
        return None
    return int(shown[0]), int(shown[1])
