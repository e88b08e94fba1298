"""The background holds back from calls that have arrived, and goes on all the same."""

import math
from collections.abc import Callable, Iterator

import pytest

from engine import engine as engine_module
from engine.engine import Engine
from engine.precedence import Precedence
from tests.engine.test_turns import at_rest, request, submit, wait_until


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
    yield lambda seconds: monkeypatch.setattr(engine_module, "_PATIENCE_SECONDS", seconds)


def test_no_background_prompt_goes_in_beside_a_call_that_has_none_yet(
    engine: Engine, patience: Callable[[float], None]
) -> None:
    patience(math.inf)
    order: list[str] = []
    with engine.precedence.going_first():
        wait_until(lambda: engine._window.others)
        engine._window._due = False
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
        wait_until(lambda: engine._window.others)
        for future in submit(engine.open_call(background=True), "back", 3, request(4), order):
            assert future.result(timeout=60).completion_tokens == 4
    wait_until(lambda: at_rest(engine))
