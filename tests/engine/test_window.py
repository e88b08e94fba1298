"""Turns between calls, by a model of the engine: prompts are taken in order, and leave whenever the test says so."""

import itertools
from collections.abc import Iterator

import pytest

from engine.window import BACKGROUND_SHARE, Lane, Window

Turns = Window[str]


def fill(window: Turns, name: str, prompts: int, *, background: bool = False) -> Lane[str]:
    """A call that submits so many prompts at once."""
    lane: Lane[str] = Lane(background)
    for number in range(prompts):
        window.put(f"{name}{number}", lane)
    return lane


def served(window: Turns, prompts: int) -> list[str]:
    """What is answered, one after the other, by an engine that takes a prompt at a time."""
    answered = []
    for _ in range(prompts):
        admission = window.take()
        if admission is None:
            break
        window.prepared(admission.prompt)
        window.leave(admission.prompt)
        answered.append(admission.prompt)
    return answered


def taken(window: Turns) -> Iterator[tuple[str, int]]:
    """What goes into the engine now, with its priority there."""
    while (admission := window.take()) is not None:
        window.prepared(admission.prompt)
        yield admission.prompt, admission.priority


def test_a_follower_that_does_not_fit_waits_and_is_overtaken_by_nobody() -> None:
    window = Turns(8, 8, held=10)
    lane = fill(window, "a", 1)
    (leader,) = taken(window)
    window.put("large", Lane(), 8)
    assert [name for name, _ in taken(window)] == ["large"]
    window.follow("after a0", leader[1], lane, 5)
    window.put("small", Lane(), 1)
    assert list(taken(window)) == []
    window.leave("large")
    assert [name for name, _ in taken(window)] == ["after a0", "small"]


def test_the_nth_prompt_waits_behind_the_others_nth() -> None:
    window = Turns(1, 1)
    fill(window, "a", 4)
    fill(window, "b", 2)
    fill(window, "c", 3)
    assert served(window, 99) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_call_of_one_goes_next_whatever_the_size_of_the_other() -> None:
    window = Turns(1, 1)
    fill(window, "backfill", 10_000)
    served(window, 5_000)
    fill(window, "small", 1)
    assert served(window, 3) == ["backfill5000", "small0", "backfill5001"]


@pytest.mark.parametrize("at_once", [1, 4, 16])
def test_a_stream_of_new_calls_does_not_starve_an_old_one(at_once: int) -> None:
    window = Turns(1, 1)
    fill(window, "old", 1000)
    numbers = itertools.count()
    for _ in range(at_once):
        fill(window, f"new{next(numbers)}.", 1)
    answered = []
    for _ in range(100 * (at_once + 1)):
        (prompt,) = served(window, 1)
        answered.append(prompt)
        if prompt.startswith("new"):
            fill(window, f"new{next(numbers)}.", 1)  # the next is there at once
    assert 90 <= sum(prompt.startswith("old") for prompt in answered) <= 110


def test_a_call_that_goes_on_after_a_pause_neither_starves_nor_is_starved() -> None:
    window = Turns(1, 1)
    pausing = fill(window, "early", 3)
    served(window, 3)
    fill(window, "busy", 1000)
    served(window, 500)  # 497 levels further
    for number in range(20):
        window.put(f"late{number}", pausing)
    order = served(window, 20)
    assert [prompt for prompt in order if prompt.startswith("late")] == [f"late{number}" for number in range(10)]
    assert order.index("late0") <= 1


def test_a_call_with_one_prompt_at_a_time_keeps_up_with_one_that_submits_all_at_once() -> None:
    window = Turns(1, 1)
    fill(window, "flood", 1000)
    lane = fill(window, "sip", 1)
    for number in range(1, 20):
        assert f"sip{number - 1}" in served(window, 2)  # each waits for one prompt of the other at most
        window.put(f"sip{number}", lane)


def test_background_goes_when_nothing_else_waits_and_else_once_in_so_many() -> None:
    window = Turns(1, 1)
    fill(window, "back", 10, background=True)
    assert served(window, 2) == ["back0", "back1"]
    fill(window, "usual", 3 * BACKGROUND_SHARE)
    order = served(window, 3 * (BACKGROUND_SHARE + 1))
    assert [place for place, prompt in enumerate(order) if prompt.startswith("back")] == [
        BACKGROUND_SHARE,
        2 * BACKGROUND_SHARE + 1,
        3 * BACKGROUND_SHARE + 2,
    ]
    assert served(window, 99) == ["back5", "back6", "back7", "back8", "back9"]


def test_background_calls_share_fairly() -> None:
    window = Turns(1, 1)
    fill(window, "a", 500, background=True)
    served(window, 300)
    fill(window, "b", 2, background=True)
    assert served(window, 4) == ["a300", "b0", "a301", "b1"]


def test_priorities_in_vllm_say_the_same() -> None:
    window = Turns(100, 100)
    fill(window, "a", 3)
    fill(window, "back", 2, background=True)
    assert dict(taken(window)) == {
        "a0": 0, "a1": 1, "a2": 2, "back0": 3 + BACKGROUND_SHARE, "back1": 3 + BACKGROUND_SHARE,
    }  # fmt: skip
    fill(window, "b", 1)
    assert dict(taken(window)) == {"b0": 3}  # behind what is there, before all of the background
    fill(window, "c", 2 * BACKGROUND_SHARE)
    late = list(taken(window))[-1][1]
    assert late > 3 + BACKGROUND_SHARE  # so that the background's get on there, too


def test_never_more_in_the_engine_than_its_size() -> None:
    window = Turns(3, 2)
    fill(window, "a", 6)
    assert [admission.prompt for admission in iter(window.take, None)] == ["a0", "a1"]
    assert (window.preparing, window.admitted, window.waiting) == (2, ["a0", "a1"], 4)
    window.prepared("a0")
    window.prepared("a1")
    assert [admission.prompt for admission in iter(window.take, None)] == ["a2"]
    window.leave("a1")
    assert [admission.prompt for admission in iter(window.take, None)] == ["a3"]
    assert (window.preparing, window.admitted, window.waiting) == (2, ["a0", "a2", "a3"], 2)


def test_a_further_turn_is_prepared_before_anything_new_and_takes_no_second_place() -> None:
    window = Turns(2, 1)
    fill(window, "a", 3)
    assert window.take().prompt == "a0"
    window.prepared("a0")
    assert window.take().prompt == "a1"
    window.prepare_again("a0")
    assert window.take() is None  # a1 is being prepared
    window.prepared("a1")
    assert window.take() == ("a0", 0)
    assert window.admitted == ["a0", "a1"]


@pytest.mark.parametrize("stage", ["waiting", "preparing", "in vLLM", "further turn", "returned", "alone", "isolated"])
def test_what_leaves_leaves_nothing_behind(stage: str) -> None:
    window = Turns(1, 1)
    fill(window, "a", 1)
    if stage != "waiting":
        window.take()
    if stage not in ("waiting", "preparing"):
        window.prepared("a0")
    if stage == "further turn":
        window.prepare_again("a0")
    if stage in ("returned", "alone", "isolated"):
        window.put_back("a0", alone=stage != "returned")
    if stage == "isolated":
        window.take()
    window.leave("a0")
    window.leave("a0")
    assert (window.preparing, window.admitted, window.waiting) == (0, [], 0)
    assert window.take() is None
    fill(window, "b", 1)
    assert served(window, 1) == ["b0"]


def test_what_comes_back_goes_first_in_its_old_order() -> None:
    window = Turns(3, 3)
    fill(window, "a", 6)
    before = dict(taken(window))
    fill(window, "b", 1)
    for prompt in ("a2", "a0", "a1"):
        window.put_back(prompt)
    assert window.waiting == 7
    assert dict(taken(window)) == before
    for prompt in before:
        window.leave(prompt)
    assert served(window, 4) == ["a3", "b0", "a4", "a5"]


def test_a_follower_goes_before_all_lanes_with_its_leaders_priority_and_counts_as_its_calls() -> None:
    window = Turns(3, 1)
    lane = fill(window, "a", 3)
    fill(window, "b", 3)
    leader = window.take()
    assert leader is not None
    window.follow("after a0", leader.priority, lane)
    window.prepared("a0")
    assert window.waiting == 6
    assert window.take() == ("after a0", leader.priority)
    window.prepared("after a0")
    for prompt in ("a0", "after a0"):
        window.leave(prompt)
    assert served(window, 99) == ["b0", "b1", "a1", "b2", "a2"]


def test_alone_is_alone() -> None:
    window = Turns(8, 8)
    fill(window, "a", 4)
    list(taken(window))
    window.put_back("a1", alone=True)
    window.put_back("a3", alone=True)
    fill(window, "b", 2)
    assert list(taken(window)) == []  # a0 and a2 are still there
    window.leave("a0")
    window.leave("a2")
    assert [prompt for prompt, _ in taken(window)] == ["a1"]
    window.prepare_again("a1")
    assert [prompt for prompt, _ in taken(window)] == ["a1"]  # another turn of it
    window.leave("a1")
    assert [prompt for prompt, _ in taken(window)] == ["a3"]
    window.leave("a3")
    assert [prompt for prompt, _ in taken(window)] == ["b0", "b1"]


def test_bytes_bound_what_is_in_the_engine_and_nobody_is_overtaken() -> None:
    window: Turns = Window(100, 100, held=10)
    lane: Lane[str] = Lane()
    for name, held in (("a", 4), ("b", 4), ("large", 7), ("small", 1)):
        window.put(name, lane, held)
    assert [prompt for prompt, _ in taken(window)] == ["a", "b"]
    assert window.held == 8
    window.leave("a")
    assert list(taken(window)) == []  # the small one would fit, and waits behind the large one
    window.leave("b")
    assert [prompt for prompt, _ in taken(window)] == ["large", "small"]
    assert window.held == 8
    window.leave("large")
    window.leave("small")
    assert window.held == 0


def test_what_is_larger_than_the_bound_goes_in_alone() -> None:
    window: Turns = Window(100, 100, held=10)
    lane: Lane[str] = Lane()
    for name, held in (("a", 1), ("huge", 50), ("b", 1)):
        window.put(name, lane, held)
    assert [prompt for prompt, _ in taken(window)] == ["a"]
    window.leave("a")
    assert [prompt for prompt, _ in taken(window)] == ["huge"]
    window.leave("huge")
    assert [prompt for prompt, _ in taken(window)] == ["b"]


def test_bytes_are_held_once_whatever_way_a_prompt_takes() -> None:
    window: Turns = Window(100, 100, held=10)
    lane: Lane[str] = Lane()
    for name in ("a", "b", "c"):
        window.put(name, lane, 5)
    assert [prompt for prompt, _ in taken(window)] == ["a", "b"]
    window.prepare_again("a")
    assert [prompt for prompt, _ in taken(window)] == ["a"]
    assert window.held == 10
    window.put_back("a")
    window.put_back("b", alone=True)
    assert window.held == 0
    assert [prompt for prompt, _ in taken(window)] == ["b"]
    window.leave("b")
    assert [prompt for prompt, _ in taken(window)] == ["a", "c"]
    assert window.held == 10
    for name in ("a", "c"):
        window.leave(name)
    assert window.held == 0


def test_few_of_the_background_go_in_beside_others_and_as_many_as_fit_by_themselves() -> None:
    window = Turns(20, 20, beside=2)
    fill(window, "back", 8, background=True)
    fill(window, "usual", 3)
    assert [prompt for prompt, _ in taken(window)] == ["usual0", "usual1", "usual2", "back0", "back1"]
    window.leave("back0")
    assert [prompt for prompt, _ in taken(window)] == ["back2"]
    for number in range(3):
        assert list(taken(window)) == []
        window.leave(f"usual{number}")
    assert [prompt for prompt, _ in taken(window)] == ["back3", "back4", "back5", "back6", "back7"]


def test_a_crowd_of_background_prompts_lets_others_in_and_gets_its_share_afterwards() -> None:
    window = Turns(4, 4, beside=1)
    fill(window, "back", 9, background=True)
    assert len(list(taken(window))) == 4
    fill(window, "usual", 40)
    assert list(taken(window)) == []  # nobody is thrown out
    window.leave("back0")
    window.leave("back1")
    window.leave("back2")
    assert [prompt for prompt, _ in taken(window)] == ["usual0", "usual1", "usual2"]
    window.leave("back3")
    assert served(window, 20).count("back4") == 1
    assert window.waiting == 40 - 3 + 5 - 20


def test_who_follows_a_background_prompt_waits_like_it() -> None:
    window = Turns(4, 4, beside=1)
    lane = fill(window, "back", 2, background=True)
    ((_, priority), _) = taken(window)
    window.follow("follower", priority, lane)
    fill(window, "usual", 1)
    assert [prompt for prompt, _ in taken(window)] == ["usual0"]
    window.leave("back0")
    assert list(taken(window)) == []
    window.leave("back1")
    assert [prompt for prompt, _ in taken(window)] == ["follower"]


def test_without_room_beside_others_the_background_gets_its_share_and_no_more() -> None:
    window = Turns(4, 4, beside=0)
    fill(window, "back", 9, background=True)
    fill(window, "usual", 2 * BACKGROUND_SHARE + 2)
    order = served(window, 2 * BACKGROUND_SHARE + 4)
    assert [place for place, prompt in enumerate(order) if prompt.startswith("back")] == [
        BACKGROUND_SHARE,
        2 * BACKGROUND_SHARE + 1,
    ]
    assert served(window, 1) == ["back2"]  # alone at last


def test_the_background_holds_back_from_calls_that_have_no_prompts_yet_but_for_one_that_is_due() -> None:
    window = Turns(4, 4, beside=0)
    fill(window, "back", 9, background=True)
    assert len(list(taken(window))) == 4
    window.others = True
    window.leave("back0")
    window.owe()
    assert list(taken(window)) == []  # there are others of its own in it, which get on
    for number in (1, 2, 3):
        window.leave(f"back{number}")
    assert [prompt for prompt, _ in taken(window)] == ["back4"]
    window.leave("back4")
    assert list(taken(window)) == []
    window.owe()
    fill(window, "usual", 1)
    assert [prompt for prompt, _ in taken(window)] == ["usual0", "back5"]
    window.leave("back5")
    window.leave("usual0")
    assert list(taken(window)) == []
    window.others = False
    assert [prompt for prompt, _ in taken(window)] == ["back6", "back7", "back8"]


def test_who_follows_a_background_prompt_is_the_one_that_is_due() -> None:
    window = Turns(4, 4, beside=0)
    lane = fill(window, "back", 2, background=True)
    leader = window.take()
    assert leader is not None
    window.others = True
    window.leave("back0")
    window.follow("follower", leader.priority, lane)
    assert list(taken(window)) == []
    window.owe()
    assert [prompt for prompt, _ in taken(window)] == ["follower"]
    window.leave("follower")
    assert list(taken(window)) == []
