"""A backfill that is told to end, or whose engine ends under it."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from app import SmolVLM2Captioner
from archive.ledger import Ledger
from archive.lock import is_locked
from archive.records import Result
from demo.broadcast import Broadcast
from tests.archive.archives import Run, make_archive, outputs, records
from tests.archive.children import child
from tests.archive.servers import Faulty, served
from tests.engine.test_engine_life import core_of

FILES = 16


@pytest.fixture
def archive(tmp_path: Path, broadcast: Broadcast) -> list[str]:
    return make_archive(tmp_path / "in", broadcast, FILES)


@pytest.fixture
def undisturbed(start: Run, archive: list[str]) -> dict[str, str]:
    """The outputs of a run that nobody disturbed; the folder is gone."""
    assert start() == 0
    made = outputs(Path("out"))
    assert list(made) == archive
    Path("out").rename("undisturbed")
    return made


@pytest.fixture
def at_third_result(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have something done while files are in flight: when the third result is about to be noted."""

    def arrange(do: Callable[[], None]) -> None:
        finish, finished = Ledger.finish, list[str]()

        def noted(self: Ledger, result: Result) -> None:
            finished.append(result.path)
            if len(finished) == 3:
                do()
            finish(self, result)

        monkeypatch.setattr(Ledger, "finish", noted)

    return arrange


def states(state: str) -> set[str]:
    return {path for path, record in records().items() if record.state == state}


def test_one_interrupt_lets_what_is_in_flight_end(
    start: Run,
    undisturbed: dict[str, str],
    at_third_result: Callable[[Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun: set[str] = set()

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        # The thread of a file that was begun a moment ago may not have told the ledger yet.
        threads = {thread.name for thread in threading.enumerate()}
        begun.update(path for path in undisturbed if f"file-{path}" in threads)
        begun.update(states("running") | states("done"))

    at_third_result(interrupt)
    assert start() == 130
    assert "Backfill interrupted" in capsys.readouterr().err
    assert 3 <= len(begun) < FILES
    assert states("done") == begun
    assert states("waiting") == set(undisturbed) - begun
    assert all(record.attempts == 0 for record in records().values() if record.state == "waiting")
    assert outputs(Path("out")) == {path: undisturbed[path] for path in sorted(begun)}
    assert start() == 0
    assert outputs(Path("out")) == undisturbed
    assert {record.attempts for record in records().values()} == {1}


class Gate:
    """In front of an app: calls wait until it opens."""

    def __init__(self, server: Faulty) -> None:
        self._app, self._open, self.held = server.app, threading.Event(), threading.Semaphore(0)
        server.app = self

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            self.held.release()
            self._open.wait()
        return self._app(environ, start_response)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gated(captioner: SmolVLM2Captioner) -> Iterator[tuple[str, Gate]]:
    with served(captioner) as server:
        gate = Gate(server)
        yield server.url, gate
        gate.open()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_interrupted_ends_when_its_calls_are_answered(
    gated: tuple[str, Gate], start: Run, undisturbed: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    url, gate = gated
    with child(tmp_path, "--server", url) as interrupted:
        for _ in range(6):
            gate.held.acquire()
        held = states("running")
        interrupted.process.send_signal(number)
        interrupted.until_said("Finishing the 6 file(s) in flight; the same signal again stops at once.")
        gate.open()
        assert interrupted.process.wait(timeout=120) == 130
    assert len(held) == 6
    assert states("done") == held
    assert {record.attempts for record in records().values() if record.state == "waiting"} == {0}
    assert start() == 0
    assert outputs(Path("out")) == undisturbed


def test_ctrl_c_in_a_terminal_costs_nothing_of_what_is_in_flight(
    start: Run, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """It reaches the engine's process as well."""
    with child(tmp_path) as interrupted:
        interrupted.until_begun(done=3)
        os.killpg(interrupted.process.pid, signal.SIGINT)
        assert interrupted.process.wait(timeout=300) == 130
    assert "The engine process ended" not in interrupted.log.read_text()
    done = states("done")
    assert 3 <= len(done) < FILES
    assert states("failed") == set()
    assert outputs(Path("out")) == {path: undisturbed[path] for path in sorted(done)}
    assert start() == 0
    assert outputs(Path("out")) == undisturbed


def test_a_second_interrupt_ends_it_at_once_and_loses_nothing(
    gated: tuple[str, Gate], start: Run, undisturbed: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, gate = gated
    with child(tmp_path, "--server", url) as interrupted:
        for _ in range(6):
            gate.held.acquire()
        interrupted.process.send_signal(signal.SIGINT)
        interrupted.until_said("Finishing the 6 file(s) in flight")
        interrupted.process.send_signal(signal.SIGINT)
        assert interrupted.process.wait(timeout=120) == 130  # no call is ever answered
    with Ledger(Path("out"), read_only=True) as ledger:
        assert [run.outcome for run in ledger.runs()] == ["interrupted"]
    assert not is_locked(Path("out"))
    assert states("done") == set()
    assert outputs(Path("out")) == {}
    gate.open()
    assert start() == 0
    assert outputs(Path("out")) == undisturbed
    assert sum(record.attempts for record in records().values()) == FILES + 6


@pytest.fixture
def mortal(start: Run, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[SmolVLM2Captioner]:
    """An app with an engine of its own, which the command runs with."""
    made = SmolVLM2Captioner()
    with monkeypatch.context() as patched:
        patched.setattr(app, "get_app", lambda: made)
        close = made.engine.close
        patched.setattr(made.engine, "close", lambda: None)
        yield made
        close()


def test_when_the_engine_dies_it_goes_on_and_when_it_stays_dead_it_stops(
    mortal: SmolVLM2Captioner,
    captioner: SmolVLM2Captioner,
    start: Run,
    undisturbed: dict[str, str],
    at_third_result: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def kill() -> None:
        os.kill(core_of(mortal.engine), signal.SIGKILL)

    at_third_result(kill)
    assert start() == 0
    assert (mortal.engine.deaths, mortal.engine.restarts) == (1, 1)
    assert outputs(Path("out")) == undisturbed
    assert {(record.state, record.attempts) for record in records().values()} == {("done", 1)}

    Path("out").rename("brought back")
    monkeypatch.setattr(mortal.engine, "settings", mortal.engine.settings.model_copy(update={"max_restarts": 0}))
    at_third_result(kill)
    capsys.readouterr()
    assert start() == 3
    # What was in the engine, and what would have gone in next, say it in different words.
    reason = re.search(
        r"(The engine (died and could not be|takes no prompts: it is dead).*again\.)", capsys.readouterr().err
    )
    assert reason
    waiting = {path: record for path, record in records().items() if record.state == "waiting"}
    assert len(waiting) + len(states("done")) == FILES
    assert waiting
    assert {record.error for record in waiting.values() if record.attempts} == {reason[1]}
    assert {record.error for record in waiting.values() if not record.attempts} <= {None}
    assert outputs(Path("out")) == {path: undisturbed[path] for path in sorted(states("done"))}

    monkeypatch.setattr(app, "get_app", lambda: captioner)
    assert start() == 0
    assert outputs(Path("out")) == undisturbed
    assert {(record.state, record.cause, record.error) for record in records().values()} == {("done", None, None)}
