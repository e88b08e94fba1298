"""The reader at work: bounded, ahead of the consumer, stopped at once."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sampling import video
from sampling.video import ByteBudget, FrameGroup, GroupReader, VideoError, read_groups
from tests.sampling.video_files import RECIPES, make
from tests.sampling.watching import FRAME_BYTES, LiveImages, Spy, chunks, leftovers, numbers
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_no_more_bytes_of_images_exist_than_the_budget_allows(
    long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, budget = LiveImages(monkeypatch), ByteBudget(10 * FRAME_BYTES)
    groups = chunks(400, 4)
    with read_groups(long_video, groups, budget=budget, readers=3) as reader:
        wait_until(lambda: budget.waiting > 0)
        taken = []
        for group in reader:
            taken.append((group.index, numbers(group)))
            hold = group.hold
            del group  # the images, before their bytes are given back
            assert hold is not None
            hold.release()
    assert sorted(taken) == [(index, [*range(4 * index, 4 * index + 4)]) for index in range(100)]
    assert 8 * FRAME_BYTES <= budget.peak <= budget.limit
    assert live.most <= budget.limit
    assert budget.held == 0


def test_the_budget_is_shared_by_calls(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, budget = LiveImages(monkeypatch), ByteBudget(10 * FRAME_BYTES)
    counts = []

    def consume() -> None:
        with read_groups(long_video, chunks(200, 6), budget=budget, readers=2) as reader:
            count = 0
            for group in reader:
                hold = group.hold
                del group
                assert hold is not None
                hold.release()
                count += 1
            counts.append(count)

    threads = [threading.Thread(target=consume, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert counts == [34] * 4
    assert budget.peak <= budget.limit
    assert live.most <= budget.limit
    assert budget.held == 0


def test_a_group_larger_than_the_budget_passes_alone(long_video: Path) -> None:
    budget = ByteBudget(3 * FRAME_BYTES)
    groups = [[0, 40], [80, 120, 160, 200, 240, 280], [320]]
    seen = []
    with read_groups(long_video, groups, budget=budget) as reader:
        for group in reader:
            with group:
                if group.index == 1:
                    assert budget.held == 6 * FRAME_BYTES
                seen.append(numbers(group))
    assert sorted(map(len, seen)) == [1, 2, 6]
    assert budget.peak == 6 * FRAME_BYTES


@pytest.mark.parametrize("readers", [1, 3])
def test_overlapping_groups_do_not_lock_each_other_out(long_video: Path, readers: int) -> None:
    """Each group is open while many others begin and end, and no two of the long ones fit at once."""
    budget = ByteBudget(6 * FRAME_BYTES)
    longs = [[start, start + 4000, start + 8000, start + 12000] for start in (0, 400, 800, 1200)]
    groups = longs + [[ms] for ms in range(0, 15000, 500)] + [[15000, 0]]
    seen = set()
    with read_groups(long_video, groups, budget=budget, readers=readers) as reader:
        for group in reader:
            with group:
                assert numbers(group) == [
                    min(ms // 40 if ms % 40 < 20 else ms // 40 + 1, 399) if ms % 40 != 20 else ms // 40 + 1
                    for ms in groups[group.index]
                ]
                seen.add(group.index)
    assert seen == set(range(len(groups)))
    assert budget.peak <= budget.limit


def test_two_calls_in_the_middle_of_groups_do_not_lock_each_other_out(long_video: Path) -> None:
    budget = ByteBudget(5 * FRAME_BYTES)
    groups = [[start, start + 2000, start + 4000] for start in range(0, 10000, 200)]
    counts = []

    def consume() -> None:
        with read_groups(long_video, groups, budget=budget, readers=2) as reader:
            counts.append(sum(group.release() is None for group in reader))

    threads = [threading.Thread(target=consume, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert counts == [len(groups)] * 3
    assert budget.peak <= budget.limit


@pytest.mark.parametrize("size", [1, 8])
def test_groups_leave_before_the_second_key_frame_after_them(
    long_video: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    spy = Spy(monkeypatch)
    groups = chunks(400, size)
    with read_groups(long_video, groups, budget=ByteBudget(), readers=1, ahead=1000) as reader:
        assert [group.index for group in reader] == list(range(len(groups)))
    keys: list[int] = []
    handed_over = 0
    for kind, value in spy.events:
        if kind == "key":
            keys.append(value)
        elif kind == "group":
            last = groups[value][-1] * 12.8
            assert sum(key > last for key in keys) < 2
            handed_over += 1
    assert handed_over == len(groups)
    assert len(keys) <= 10
    assert len(keys) - len(set(keys)) <= 2


def test_a_group_that_spans_key_frames_leaves_before_the_second_one_after_it(
    long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    groups = [list(range(0, 9000, 40)), *chunks(400, 5)[4:]]
    with read_groups(long_video, groups, budget=ByteBudget(), readers=1, ahead=1000) as reader:
        assert len(list(reader)) == len(groups)
    keys = [value for kind, value in spy.events[: spy.events.index(("group", 4))] if kind == "key"]
    assert sum(key > groups[4][-1] * 12.8 for key in keys) < 2
    assert spy.exact == 0


def test_pictures_are_read_ahead_of_a_consumer_that_takes_none(long_video: Path) -> None:
    budget = ByteBudget()
    with read_groups(long_video, chunks(400, 4), budget=budget, readers=1, ahead=5) as reader:
        wait_until(lambda: budget.held >= 5 * 4 * FRAME_BYTES)
        with next(reader) as group:
            assert group.index == 0
            wait_until(lambda: budget.held >= 6 * 4 * FRAME_BYTES)
            time.sleep(0.3)  # for a reader that knows no end to go too far
        assert budget.peak <= 7 * 4 * FRAME_BYTES


def test_an_abandoned_iteration_leaves_nothing(long_video: Path) -> None:
    budget = ByteBudget(20 * FRAME_BYTES)
    reader = read_groups(long_video, chunks(400, 4), budget=budget, readers=3)
    next(reader)
    del reader
    assert leftovers() == []
    assert budget.held == 0


def test_a_consumer_that_fails_leaves_nothing(long_video: Path) -> None:
    budget = ByteBudget(20 * FRAME_BYTES)

    def consume() -> None:
        with read_groups(long_video, chunks(400, 4), budget=budget, readers=3) as reader:
            for group in reader:
                raise KeyError(group.index)

    with pytest.raises(KeyError):
        consume()
    assert leftovers() == []
    assert budget.held == 0


def test_closing_wakes_a_waiting_consumer(long_video: Path) -> None:
    """The reader waits for bytes, the consumer for the reader, and a third thread ends it all."""
    budget = ByteBudget(4 * FRAME_BYTES)
    assert budget.try_acquire(4 * FRAME_BYTES)
    reader = read_groups(long_video, chunks(400, 4), budget=budget, readers=2)
    wait_until(lambda: budget.waiting > 0)
    rest: list[FrameGroup] = []
    consumer = threading.Thread(target=lambda: rest.extend(reader), daemon=True)
    consumer.start()
    reader.close()
    consumer.join(60)
    assert not consumer.is_alive()
    assert rest == []
    assert leftovers() == []
    assert budget.held == 4 * FRAME_BYTES


def test_closing_stops_a_reader_in_the_middle_of_decoding(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    reader = read_groups(long_video, [[15900]] * 2 + [list(range(0, 16000, 40))], budget=ByteBudget(), readers=1)
    wait_until(lambda: len(spy.given()) > 3)
    reader.close()
    decoded = len(spy.given())
    assert decoded < 300
    assert leftovers() == []
    assert list(reader) == []


def test_stopping_does_not_wait_and_ends_the_iteration(long_video: Path) -> None:
    """As a cancelled call does it, on a thread that may not block."""
    budget = ByteBudget(8 * FRAME_BYTES)
    with read_groups(long_video, chunks(400, 4), budget=budget, readers=2) as reader:
        wait_until(lambda: budget.waiting > 0)
        with next(reader):
            reader.stop()
            assert list(reader) == []
    assert budget.held == 0


def test_held_back_it_reads_no_further_than_the_next_group(long_video: Path) -> None:
    with read_groups(long_video, chunks(400, 4), budget=ByteBudget(), readers=1, ahead=5) as reader:
        reader.hold_back(True)
        ready = reader._desk.ready
        wait_until(lambda: len(ready) > 0)
        for _ in range(6):  # as many as it may have read before it was told
            next(reader)
        most = 0
        for _ in range(60):
            wait_until(lambda: len(ready) > 0)
            next(reader)
            most = max(most, len(ready))
        assert most <= 1
        changed: Any = reader._desk.changed
        wait_until(lambda: len(ready) == 1 and changed._waiters)  # and nothing else will wake it
        reader.hold_back(False)
        wait_until(lambda: len(ready) == 5)


def test_it_says_how_many_groups_are_being_read(long_video: Path) -> None:
    with read_groups(long_video, chunks(40, 4), budget=ByteBudget(), readers=1, ahead=3) as reader:
        assert reader.reading >= 1
        wait_until(lambda: reader.reading >= 3)
        left = [reader.reading for _ in reader]
        assert left[-1] == 0
        assert min(left[:-1]) >= 1


def test_a_group_that_is_complete_when_all_is_stopped_is_given_back(
    long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = ByteBudget()
    finish = video._Desk.finish

    def stopped_before(desk: video._Desk, *arguments: Any) -> None:
        assert budget.held > 0
        desk.halt()
        finish(desk, *arguments)

    monkeypatch.setattr(video._Desk, "finish", stopped_before)
    with read_groups(long_video, chunks(40, 4), budget=budget, readers=1) as reader:
        assert list(reader) == []
    assert budget.held == 0


def test_close_may_come_twice_and_frames_taken_stay_with_the_consumer(long_video: Path) -> None:
    budget = ByteBudget()
    reader = read_groups(long_video, chunks(400, 4), budget=budget, readers=1)
    group = next(reader)
    reader.close()
    reader.close()
    assert budget.held == 4 * FRAME_BYTES
    assert numbers(group) == [0, 1, 2, 3]
    group.release()
    group.release()
    assert budget.held == 0


@pytest.mark.parametrize("name", ["no-index", "empty", "text", None])
def test_a_file_that_cannot_be_opened_is_one_error(folder: Path, name: str | None) -> None:
    recipes = {recipe.name: recipe for recipe in RECIPES}
    path = make(recipes[name], folder) if name else folder / "absent.mp4"
    budget = ByteBudget()
    with read_groups(path, [[ms] for ms in range(0, 5000, 100)], budget=budget) as reader:
        with pytest.raises(VideoError, match="Check that the file exists") as caught:
            next(reader)
        assert str(path) in str(caught.value)
        assert caught.value.path == str(path)
        assert list(reader) == []
    assert budget.held == 0


def test_nothing_asked_is_nothing_read(folder: Path) -> None:
    with read_groups(folder / "absent.mp4", [[], []], budget=ByteBudget()) as reader:
        assert [(group.index, group.frames) for group in reader] == [(0, ()), (1, ())]
    assert list(read_groups(folder / "absent.mp4", [], budget=ByteBudget())) == []


def test_readers_can_be_used_as_iterators(long_video: Path) -> None:
    reader = read_groups(long_video, [[0], [40]], budget=ByteBudget())
    assert isinstance(reader, GroupReader)
    assert iter(reader) is reader
    assert sorted(group.index for group in reader) == [0, 1]
