"""The background holds back from calls that have arrived, and goes on all the same."""

import asyncio
import math
from collections.abc import Callable, Iterator

import pytest

from bench.tracing import traced
from engine import prompts as prompts_module
from engine import standstill
from engine.engine import Engine
from engine.precedence import Precedence
from engine.settings import EngineSettings
from tests.engine.test_turns import at_rest, request, submit
from tests.waiting import wait_until


def test_listeners_hear_what_is_so_and_every_change_until_they_leave() -> None:
    precedence, heard, late = Precedence(), list[bool](), list[bool]()
    with precedence.telling(heard.append):
        with precedence.going_first():
            with precedence.telling(late.append), precedence.going_first():
                assert precedence.others
            assert precedence.others
        assert not precedence.others
    with precedence.going_first():
        pass
    assert (heard, late) == ([False, True, False], [True])


def test_a_call_that_is_short_of_room_has_the_background_go_on() -> None:
    precedence, heard = Precedence(), list[bool]()
    with precedence.telling(heard.append), precedence.going_first():
        with precedence.going_first(), precedence.short_of_room():  # though there is another one
            assert not precedence.others
        assert precedence.others
    assert heard == [False, True, False, True, False]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Sets the seconds after which a background prompt is due."""
    yield lambda seconds: monkeypatch.setattr(prompts_module, "_PATIENCE_SECONDS", seconds)


def test_no_background_prompt_goes_in_beside_a_call_that_has_none_yet(
    engine: Engine, patience: Callable[[float], None]
) -> None:
    patience(math.inf)
    order: list[str] = []
    with engine.precedence.going_first():
        wait_until(lambda: engine._prompts.window.others)
        engine._prompts.window._due = False
        back = submit(engine.open_call(background=True), "back", 5, request(4), order)
        wait_until(lambda: engine.waiting == 5)
        (usual,) = submit(engine.open_call(), "usual", 1, request(4), order)
        usual.result()
        assert (order, engine.waiting) == (["usual"], 5)
    for future in back:
        future.result()
    wait_until(lambda: at_rest(engine))


def test_beside_calls_without_end_the_background_gets_on(engine: Engine, patience: Callable[[float], None]) -> None:
    patience(0)
    order: list[str] = []
    with engine.precedence.going_first():
        wait_until(lambda: engine._prompts.window.others)
        for future in submit(engine.open_call(background=True), "back", 3, request(4), order):
            assert future.result(timeout=60).completion_tokens == 4
    wait_until(lambda: at_rest(engine))


def stands_still(engine: Engine) -> bool:
    generation = engine._generation
    assert generation is not None and generation._llm is not None
    return asyncio.run_coroutine_threadsafe(generation._llm.is_paused(), generation._loop).result()


def test_vllm_stands_still_until_the_first_prompt_of_a_call_that_is_there(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "_LONGEST_SECONDS", 3600)
    order: list[str] = []
    back = submit(engine.open_call(background=True), "back", 4, request(500), order)
    wait_until(lambda: engine.unfinished_in_vllm == 4)
    # It is known by now: finding out what a GPU is there takes long enough to keep all prompts waiting.
    monkeypatch.setattr(EngineSettings, "beside", property(lambda settings: pytest.fail("the machine is asked")))
    with engine.precedence.going_first():
        wait_until(lambda: stands_still(engine))
        assert order == []
        (usual,) = submit(engine.open_call(), "usual", 1, request(20), order)
        assert usual.result().completion_tokens == 20
        assert order == ["usual"]
        assert not stands_still(engine)
    assert {future.result().completion_tokens for future in back} == {500}
    wait_until(lambda: at_rest(engine))


def test_of_the_background_at_most_one_prompt_is_read_beside_a_call(engine: Engine) -> None:
    generation = engine._generation
    assert generation is not None
    with traced(engine) as traces:
        generation.stand_still(True)
        back = submit(engine.open_call(background=True), "back", 3, request(40), [])
        wait_until(lambda: engine.unfinished_in_vllm == 3)
        (usual,) = submit(engine.open_call(), "usual", 1, request(20), [])
        wait_until(lambda: engine.unfinished_in_vllm == 4)
        generation.stand_still(False)
        assert [future.result().completion_tokens for future in [usual, *back]] == [20, 40, 40, 40]
    *others, call = sorted(traces, key=lambda trace: trace.prepared)
    assert sum(other.first > call.first for other in others) >= 2
    assert sum(other.first > call.last for other in others) >= 2


@pytest.mark.parametrize("end", ["gone", "time"])
def test_it_goes_on_when_the_call_is_gone_or_takes_long(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(standstill, "_LONGEST_SECONDS", 3600 if end == "gone" else 0.01)
    back = submit(engine.open_call(background=True), "back", 2, request(200), [])
    wait_until(lambda: engine.unfinished_in_vllm == 2)
    with engine.precedence.going_first():
        if end == "gone":
            wait_until(lambda: stands_still(engine))
        else:
            assert {future.result(timeout=60).completion_tokens for future in back} == {200}
    assert {future.result(timeout=60).completion_tokens for future in back} == {200}
    wait_until(lambda: at_rest(engine))
