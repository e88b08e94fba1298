"""The last hour: what is kept, and the rate made of it."""

import pytest

from app import SmolVLM2Captioner
from engine.hardware import Gpu
from serving import watch
from serving.front import Service
from serving.history import POINTS, History, Sample
from serving.settings import ServingSettings
from tests.waiting import wait_until


def _history(*captions: int) -> History:
    history = History(lambda: Sample(0, 0, 0.0, None))
    for count in captions:
        history.add(Sample(count, 0, 0.0, None))
    return history


def test_a_rate_needs_two_samples_and_looks_back_a_minute() -> None:
    assert _history().series()["captions_per_minute"] == []
    assert _history(100).series()["captions_per_minute"] == [None]
    # Ten captions in ten seconds, then none: the minute's rate goes up to 60 at once, and after a minute is 0.
    rates = _history(0, 10, 10, 10, 10, 10, 10, 10, 10).series()["captions_per_minute"]
    assert rates == [None, 60.0, 30.0, 20.0, 15.0, 12.0, 10.0, 0.0, 0.0]


def test_an_hour_is_kept_and_its_oldest_point_has_a_rate() -> None:
    history = _history(*range(0, 20 * POINTS, 2))  # 12 a minute, for ten hours
    series = history.series()
    assert {len(values) for values in series.values()} == {POINTS}
    assert set(series["captions_per_minute"]) == {12.0}


def test_samples_come_from_one_thread_however_often_it_is_started() -> None:
    taken: list[int] = []
    history = History(lambda: Sample(taken.append(1) or len(taken), 3, 0.5, None))  # type: ignore[func-returns-value]
    history.start()
    history.start()
    wait_until(lambda: history.series()["waiting"])
    assert history.series()["waiting"] == [3]
    assert len(taken) == 1


def test_a_card_whose_memory_is_not_said_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "gpus", lambda: [Gpu("GPU-1", "NVIDIA GB10", 0, 0), Gpu("GPU-2", "NVIDIA T4", 100, 40)])
    monkeypatch.setattr(watch, "memory_held", lambda pids: {})
    shown = Service.of(SmolVLM2Captioner(), ServingSettings()).watch
    assert shown._sample().gpu_memory == 0.6
    assert [gpu["name"] for gpu in shown.status(may_cancel=False)["gpus"]] == ["NVIDIA T4"]
