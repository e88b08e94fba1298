"""A call beside a backfill: who is called when, with which frames, and what is said of it."""

import argparse
import contextlib
import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from bench.engines import Engines
from bench.results import Results
from bench.run import Run, new_progress
from bench.scenarios import interactive


class Served:
    """Takes the place of the server: notes what it is asked, and beside what."""

    def __init__(self) -> None:
        self.beside = "idle"
        self.backfills: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    def ask(self, server: object, mmif: str) -> float:
        self.asked.append((self.beside, mmif))
        return {"idle": 1.0, "background": 1.5, "normal": 3.0}[self.beside] * len(self.asked)

    @contextlib.contextmanager
    def backfill(self, server: object, mmif: str, priority: str | None, in_flight: int) -> Iterator[None]:
        self.beside = priority or "idle"
        if priority:
            self.backfills.add(mmif)
        yield


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    made = Served()
    monkeypatch.setattr(interactive, "_ask", made.ask)
    monkeypatch.setattr(interactive, "_backfill", made.backfill)
    monkeypatch.setattr(interactive, "_answered", lambda server: 0)
    monkeypatch.setattr(interactive, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(interactive, "model_folder", lambda name: None)
    monkeypatch.setattr(interactive, "kv_cache_gib", lambda folder: "1")
    monkeypatch.setattr(Engines, "server", lambda self, **settings: None)
    monkeypatch.setattr(interactive, "broadcast", Body)
    return made


class Body:
    """A workload whose MMIF says what it is."""

    def __init__(self, count: int, turn: int, *, quick: bool, part: int) -> None:
        self._words = f"{count} prompts of turn {turn}, part {part}"

    def mmif(self) -> str:
        return self._words


def measured(**options: Any) -> Results:
    results = Results(["interactive"], False, about={"none": "needed"})
    chosen = argparse.Namespace(**{"model": "demo", "in_flight": 16, **options})
    with new_progress(Console(file=io.StringIO())) as progress:
        interactive.measure(Run("interactive", chosen, results, Engines(), progress))
    return results


def test_no_call_is_made_twice_and_none_is_of_the_backfill(served: Served) -> None:
    measured(rounds=6, calls=10)
    bodies = [mmif for _, mmif in served.asked]
    assert len(set(bodies)) == len(bodies) == 1 + 6 * 3 * 10
    assert all(body.startswith("1 prompts of turn ") and body.endswith("part 1") for body in bodies)
    assert served.backfills == {"400 prompts of turn 0, part 0"}


def test_each_round_begins_with_another(served: Served) -> None:
    measured(rounds=4, calls=1)
    beside = [beside for beside, _ in served.asked[1:]]
    assert beside == [
        *("idle", "background", "normal"),
        *("background", "normal", "idle"),
        *("normal", "idle", "background"),
        *("idle", "background", "normal"),
    ]


def test_a_ratio_is_that_of_a_round(served: Served) -> None:
    figures = measured(rounds=6, calls=2).figures
    assert len(figures["interactive.background.ratio"].samples) == 6
    assert figures["interactive.background.ratio"].interval.confidence > 0.95
    assert figures["interactive.idle.latency"].rounds == 6
    first = figures["interactive.idle.latency"].by_round[0], figures["interactive.background.latency"].by_round[0]
    assert first == (2.5, 1.5 * 4.5)
    assert figures["interactive.background.ratio"].samples[0] == pytest.approx(1.5 * 4.5 / 2.5)


def test_more_calls_than_there_are_frames_are_refused(served: Served) -> None:
    with pytest.raises(ValueError, match="100 rounds of 3 times 1 calls and one before: at most 199 in all"):
        measured(rounds=100, calls=1)
