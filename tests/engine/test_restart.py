"""Deaths and restarts of an engine whose vLLM is played: which prompts go in again, how, and when it is over."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from engine.engine import Engine, backoff
from engine.errors import EngineDied, EngineStartError, EngineUnavailable, PromptRefused
from engine.request import Completion
from engine.settings import EngineSettings
from models import choose
from tests.engine.played import Played, named
from tests.waiting import wait_until


def submit(mortal: Engine, names: list[str]) -> dict[str, "Future[Completion]"]:
    """Have all of them come at once: otherwise the first may be done, on a busy machine, before the last is there."""
    there = threading.Event()
    mortal._loop.call_soon_threadsafe(there.wait)
    call = mortal.open_call()
    futures = {name: call.submit(named(name)) for name in names}
    there.set()
    return futures


def innocents(futures: dict[str, "Future[Completion]"], guilty: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    for name in futures.keys() - guilty:
        assert futures[name].result(timeout=60).text == f"caption of {name}"


def test_what_was_in_a_dead_engine_is_answered_by_the_next(played: Played, mortal: Engine) -> None:
    played.held = {f"p{number}" for number in range(4)}
    futures = submit(mortal, [f"p{number}" for number in range(20)])
    wait_until(lambda: len(played.generations[0].inside) == 4)
    played.held = set()
    played.generations[0].die()
    innocents(futures)
    assert mortal.deaths == 1
    assert (mortal.state, mortal.is_ready, mortal.in_flight, mortal.waiting) == ("ready", True, 0, 0)
    assert len(played.generations) == 2


def test_the_culprit_among_many_is_found_and_only_it_is_refused(played: Played, mortal: Engine) -> None:
    played.deadly = {"p3"}
    futures = submit(mortal, [f"p{number}" for number in range(20)])
    with pytest.raises(PromptRefused, match="died 3 times while it worked on it, at last on nothing else"):
        futures["p3"].result(timeout=60)
    innocents(futures, {"p3"})
    assert [inside for _, inside in played.seen][2] == {"p3"}
    assert all(len(inside) > 1 for _, inside in played.seen[:2])
    assert mortal.deaths == 3


def test_two_culprits(played: Played, mortal: Engine) -> None:
    played.deadly = {"p1", "p5"}
    futures = submit(mortal, [f"p{number}" for number in range(8)])
    for guilty in played.deadly:
        with pytest.raises(PromptRefused, match="not tried again"):
            futures[guilty].result(timeout=60)
    innocents(futures, played.deadly)
    assert mortal.state == "ready"


def test_a_prompt_that_is_alone_at_two_deaths_is_refused_at_the_second(played: Played, mortal: Engine) -> None:
    played.deadly = {"p0"}
    with pytest.raises(PromptRefused, match="died 2 times"):
        submit(mortal, ["p0"])["p0"].result(timeout=60)
    assert mortal.deaths == 2
    innocents(submit(mortal, ["p1"]))


def test_being_there_at_two_deaths_by_chance_is_no_guilt(played: Played, mortal: Engine) -> None:
    names = [f"p{number}" for number in range(6)]
    played.held = set(names)
    futures = submit(mortal, names)
    for number in range(2):
        wait_until(lambda n=number: len(played.generations) > n and played.generations[n].inside == set(names))
        played.generations[number].die()
    wait_until(lambda: len(played.generations) == 3 and mortal.is_ready)
    wait_until(lambda: played.generations[2].inside == {"p0"})  # one by one now
    assert mortal.waiting == 5
    played.held = set()
    innocents(futures)
    assert mortal.deaths == 2


def test_a_hanging_engine_is_replaced(played: Played, mortal: Engine) -> None:
    played.held = {"p0", "p1"}
    futures = submit(mortal, ["p0", "p1"])
    wait_until(lambda: played.generations[0].inside == {"p0", "p1"})
    played.generations[0].stalled = True
    played.held = set()
    innocents(futures)
    assert played.generations[0].closed
    assert mortal.deaths == 1


def test_nothing_that_was_prepared_for_a_dead_engine_goes_on(played: Played, mortal: Engine) -> None:
    played.slow = {"p0", "p1"}
    futures = submit(mortal, ["p0", "p1"])
    wait_until(lambda: mortal.preparing == 2)
    played.generations[0].die()
    wait_until(lambda: len(played.generations) == 2 and played.generations[1].prepared == ["warm-up", "p0", "p1"])
    assert mortal.preparing == 2
    played.slow = set()
    innocents(futures)
    assert played.generations[0].asked == ["warm-up"]
    assert (mortal.preparing, mortal.bytes_held, mortal.answered) == (0, 0, 2)


def test_a_prompt_on_its_way_when_the_engine_ends_is_told_so(played: Played, mortal: Engine) -> None:
    lets_go = threading.Event()
    mortal._loop.call_soon_threadsafe(lets_go.wait)
    future = mortal.submit(named("p0"))
    mortal._state = "dead"
    lets_go.set()
    with pytest.raises(EngineUnavailable, match="takes no prompts: it is dead"):
        future.result(timeout=60)
    assert (mortal.in_flight, played.generations[0].prepared) == (0, ["warm-up"])
    mortal._state = "ready"


def test_a_follower_is_not_let_in_when_its_engine_has_ended(played: Played, mortal: Engine) -> None:
    played.held = {"p0"}
    leader, follower = mortal.open_call().submit_in_turn([named("p0"), named("p1")])
    wait_until(lambda: played.generations[0].inside == {"p0"})
    mortal._state = "dead"
    assert leader.cancel()
    with pytest.raises(EngineUnavailable, match="takes no prompts: it is dead"):
        follower.result(timeout=60)
    assert played.generations[0].prepared == ["warm-up", "p0"]
    mortal._state = "ready"


def test_a_prompt_for_an_engine_that_is_closed_at_that_moment_is_told_so(played: Played, mortal: Engine) -> None:
    mortal.close()
    mortal._state = "ready"  # as it was when the caller looked
    future = mortal.submit(named("p0"))
    mortal._state = "closed"
    with pytest.raises(EngineUnavailable, match="takes no prompts"):
        future.result(timeout=60)


def test_an_idle_engine_is_not_taken_to_hang(played: Played, mortal: Engine) -> None:
    played.generations[0].stalled = True
    for _ in range(20):
        time.sleep(0.005)
    assert (mortal.state, mortal.deaths) == ("ready", 0)


def test_an_engine_that_dies_idle_is_replaced(played: Played, mortal: Engine) -> None:
    played.generations[0].die()
    assert not mortal.is_ready
    wait_until(lambda: mortal.is_ready)
    innocents(submit(mortal, ["p0"]))


def test_prompts_wait_for_a_restart_and_can_leave_it(played: Played, mortal: Engine) -> None:
    allowed = threading.Event()
    played.build = lambda number: allowed.wait() and None
    played.held = {"p0", "p1"}
    futures = submit(mortal, ["p0", "p1"])
    wait_until(lambda: len(played.generations[0].inside) == 2)
    played.generations[0].die()
    wait_until(lambda: mortal.state == "restarting")
    assert not mortal.is_ready
    mortal.start()  # the next call's; does not wait
    late = submit(mortal, ["p2", "p3"])
    wait_until(lambda: mortal.waiting == 4)
    assert futures["p0"].cancel()
    assert late["p3"].cancel()
    wait_until(lambda: mortal.in_flight == 2)
    assert mortal.waiting == 2
    played.held = set()
    allowed.set()
    assert futures["p1"].result(timeout=60).text == "caption of p1"
    assert late["p2"].result(timeout=60).text == "caption of p2"


def test_a_conversation_starts_over(played: Played, mortal: Engine) -> None:
    future = mortal.submit(named("talk", turns=2))
    future.result(timeout=60)
    (first,) = played.generations
    undisturbed = first.rendered[1:]  # the first is the warm-up's
    assert len(undisturbed) == 2
    assert "caption of talk" in undisturbed[1]
    first.rendered.clear()
    talk = mortal.submit(named("talk", turns=2))
    wait_until(lambda: len(first.rendered) == 2)
    first.die()
    assert talk.result(timeout=60).text == "caption of talk"
    if len(played.generations) == 2:  # it was still in there
        assert played.generations[1].rendered[1:] == undisturbed


def test_it_is_over_after_so_many_deaths_without_an_answer(played: Played, mortal: Engine) -> None:
    told: list[str] = []
    mortal.on_death = lambda: told.append(mortal.state)

    def fail(number: int) -> None:
        raise RuntimeError("no memory")

    played.build = fail
    played.held = {f"p{number}" for number in range(20)}
    futures = submit(mortal, sorted(played.held))
    wait_until(lambda: len(played.generations[0].inside) == 8)
    played.generations[0].die()
    for future in futures.values():
        with pytest.raises(EngineDied, match="could not be brought back"):
            future.result(timeout=60)
    wait_until(lambda: bool(told))
    assert told == ["dead"]
    assert (mortal.state, mortal.is_ready, mortal.in_flight) == ("dead", False, 0)
    assert len(played.generations) == 1 + mortal.settings.max_restarts
    with pytest.raises(EngineUnavailable, match="it is dead"):
        mortal.submit(named("p2")).result(timeout=60)
    with pytest.raises(EngineUnavailable, match="dead"):
        mortal.start()


def test_answers_in_between_let_it_go_on(played: Played, mortal: Engine) -> None:
    for number in range(3 * mortal.settings.max_restarts):
        played.generations[-1].die()
        innocents(submit(mortal, [f"p{number}"]))
    assert mortal.deaths == 3 * mortal.settings.max_restarts


def test_each_wait_is_longer_than_the_one_before() -> None:
    assert [backoff(deaths) for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_closing_while_it_restarts(played: Played, mortal: Engine) -> None:
    allowed = threading.Event()
    played.build = lambda number: allowed.wait() and None
    played.held = {"p0"}
    futures = submit(mortal, ["p0"])
    wait_until(lambda: played.generations[0].inside == {"p0"})
    played.generations[0].die()
    wait_until(lambda: len(played.generations) == 2)
    threading.Timer(0.05, allowed.set).start()
    mortal.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        futures["p0"].result(timeout=60)


def test_closing_while_it_starts_is_no_failure_of_the_start(played: Played) -> None:
    killed = threading.Event()

    def build(number: int) -> None:
        assert killed.wait(60)
        raise RuntimeError("no engine process")

    def close(*, kill: bool) -> None:
        killed.set()
        wait_until(starting.done)  # as vLLM's threads have ended when it is closed

    played.build = build
    made = Engine(EngineSettings(), choose("demo"), played.make)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(made.start)
        wait_until(lambda: bool(played.generations))
        played.generations[0].close = close  # type: ignore[method-assign]
        made.close()
        with pytest.raises(EngineUnavailable, match="closed while it was being started"):
            starting.result()


def test_a_first_start_that_fails_is_not_tried_again(played: Played) -> None:
    def fail(number: int) -> None:
        raise RuntimeError("no memory")

    played.build = fail
    made = Engine(EngineSettings(), choose("demo"), played.make)
    with pytest.raises(EngineStartError, match="did not start: RuntimeError: no memory"):
        made.start()
    assert len(played.generations) == 1
    assert played.generations[0].closed


def test_an_engine_that_can_not_be_watched_is_given_up(
    played: Played, mortal: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def no_clock(since: float) -> float:
        raise OSError("no clock")

    played.generations[0].silence = no_clock  # type: ignore[method-assign]
    names = [f"p{number}" for number in range(12)]
    played.held = set(names)
    for future in submit(mortal, names).values():
        with pytest.raises(EngineDied, match=r"can't be watched any more \(OSError: no clock\)"):
            future.result(timeout=60)
    wait_until(lambda: not played.generations[0].inside)  # what nobody waits for is not computed on
    assert played.generations[0].prepared == ["warm-up", *names[:8]]  # those that waited stay out
    assert (mortal.state, mortal.deaths, len(played.generations)) == ("dead", 0, 1)
    (said,) = [record for record in caplog.records if record.exc_info]
    assert (said.getMessage(), str(said.exc_info[1])) == ("The engine can't be watched any more.", "no clock")  # type: ignore[index]


def test_cancelling_a_call_takes_all_of_it_out(played: Played, mortal: Engine) -> None:
    names = [f"p{number}" for number in range(40)]
    played.held = set(names)
    call, other = mortal.open_call(), mortal.open_call()
    futures = [call.submit(named(name)) for name in names]
    wait_until(lambda: len(played.generations[0].inside) == 8)
    wait_until(lambda: mortal.waiting == 32)
    kept = other.submit(named("kept"))
    call.cancel()
    assert all(future.cancelled() for future in futures)
    assert kept.result(timeout=60).text == "caption of kept"
    wait_until(lambda: not played.generations[0].inside)
    assert (mortal.in_flight, mortal.waiting) == (0, 0)
    assert call.submit(named("p41")).cancelled()
    call.cancel()  # does nothing


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 66),
        ({"max_seqs": 8, "prompts_in_preparation": 3}, 11),
        ({"max_seqs": 8, "data_parallel": 4}, 34),
        ({"prompts_in_engine": 5, "prompts_in_preparation": 3}, 5),
    ],
)
def test_how_many_prompts_may_be_in_the_engine(settings: dict[str, int], size: int) -> None:
    window = Engine(EngineSettings(**settings), choose("demo"))._prompts.window
    assert (window.size, window.preparing_size) == (size, settings.get("prompts_in_preparation", 2))
