"""The frames of a call's tasks, video by video, and what becomes of those that can't be read."""

import threading
from pathlib import Path
from typing import Any

import pytest

import captioning.frames
import sampling.video
from captioning.frames import Frames, read
from captioning.plan import Task
from captioning.running import Reason, RunningCall
from demo.broadcast import Broadcast, Segment, render
from engine.precedence import Precedence
from sampling.timepoints import Instant
from sampling.video import ByteBudget
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Broadcast:
    return render(tmp_path_factory.mktemp("frames") / "short.mp4", (Segment("slate", "blue", 0, 2),))


def task(path: Path, name: str, *times: int) -> Task:
    return Task(name, "d1", path, tuple(Instant(ms) for ms in times), (0, 2000))


def test_tasks_of_a_video_that_cant_be_opened_say_why_and_the_others_have_their_frames(
    short: Broadcast, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("This is no video.")
    tasks = [task(broken, "tf_1", 0, 500), task(short.path, "tf_2", 500, 9000), task(broken, "tf_3", 1000)]
    budget = ByteBudget()
    found = {}
    for frames in read(tasks, budget, RunningCall()):
        found[frames.index] = frames
        if frames.hold is not None:
            frames.hold.release()
    assert [found[number].task for number in range(3)] == tasks
    assert [found[number].unread for number in range(3)] == [(0, 500), (9000,), (1000,)]
    assert [len(found[number].images) for number in range(3)] == [0, 1, 0]
    assert found[1].instants == (Instant(500),)
    assert found[1].times == pytest.approx((500,), abs=17)
    assert found[0].trouble == found[2].trouble
    assert f"Cannot open the video {broken}" in found[0].trouble
    assert (found[0].group, budget.held) == (None, 0)


def test_no_further_video_is_opened_when_the_call_is_cancelled(short: Broadcast, tmp_path: Path) -> None:
    running, budget = RunningCall(), ByteBudget()
    reading = read([task(short.path, "tf_1", 500), task(tmp_path / "gone.mp4", "tf_2", 0)], budget, running)
    hold = next(reading).hold
    assert hold is not None
    hold.release()
    running.cancel(Reason.CLIENT_GONE)
    assert list(reading) == []
    assert budget.held == 0


def test_a_video_that_can_not_be_opened_is_nothing_to_a_call_that_is_cancelled_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = RunningCall()

    def opened(*given: Any, **more: Any) -> Any:
        running.cancel(Reason.CLIENT_GONE)
        return sampling.video.read_groups(*given, **more)

    monkeypatch.setattr(captioning.frames, "read_groups", opened)
    assert list(read([task(tmp_path / "gone.mp4", "tf_1", 0)], ByteBudget(), running)) == []


@pytest.mark.parametrize("background", [False, True])
def test_a_call_that_waits_for_bytes_has_the_background_go_on(short: Broadcast, background: bool) -> None:
    precedence, budget = Precedence(), ByteBudget(1)
    assert budget.try_acquire(1)  # by prompts of the background
    running = RunningCall(background=background, precedence=precedence)
    found: list[Frames] = []
    with precedence.going_first():
        reading = read([task(short.path, "tf_1", 500)], budget, running)
        thread = threading.Thread(target=lambda: found.extend(reading))
        thread.start()
        wait_until(lambda: budget.waiting > 0)
        assert precedence.others is background
        budget.release(1)
        thread.join()
        assert precedence.others
    assert found[0].times == pytest.approx((500,), abs=17)


def test_in_the_background_frames_are_not_read_ahead_beside_others(short: Broadcast) -> None:
    precedence = Precedence()
    running = RunningCall(background=True, precedence=precedence)
    reading = read([task(short.path, f"tf_{n}", 40 * n) for n in range(9)], ByteBudget(), running)
    next(reading)
    reader: Any = running.reader
    assert not reader._desk.held_back
    with precedence.going_first():
        assert reader._desk.held_back
    assert not reader._desk.held_back
    reading.close()
    usual = RunningCall(precedence=precedence)
    with precedence.going_first():
        reading = read([task(short.path, "tf_1", 500)], ByteBudget(), usual)
        next(reading)
        reader = usual.reader
        assert not reader._desk.held_back
        reading.close()
