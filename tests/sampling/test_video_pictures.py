"""Which pictures come out of a video, and that no more is decoded for them than has to be."""

import random
from pathlib import Path

import pytest

from sampling.source import Source
from sampling.video import ByteBudget, read_groups
from tests.sampling.video_files import FRONT, PYRAMID, RECIPES, Recipe, frame_times, make, spoil
from tests.sampling.watching import FRAME_BYTES, LiveImages, Spy, chunks, numbers

pytestmark = pytest.mark.usefixtures("nothing_is_left")
SPOILT = Recipe("spoilt", "mp4", container=FRONT, gop=30, options=PYRAMID, damage=spoil(0.5, 1500, seed=1))


@pytest.fixture(scope="module")
def spoilt_video(folder: Path) -> Path:
    return make(SPOILT, folder)


@pytest.mark.parametrize("name", ["constant", "variable", "variable-mkv", "offset", "vp9", "rotated"])
def test_frames_show_what_was_on_at_the_instant(folder: Path, name: str) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == name)
    times = [float(time) * 1000 for time in frame_times(recipe)]
    dice = random.Random(name)
    wanted = sorted(dice.sample(range(20, recipe.frames), 20))
    asked = [[round(times[number]) for number in wanted]]
    with read_groups(make(recipe, folder), asked, budget=ByteBudget()) as reader:
        [group] = reader
    assert numbers(group) == wanted
    for frame, number, ms in zip(group.frames, wanted, asked[0], strict=True):
        assert frame is not None
        assert frame.instant_ms == ms
        assert frame.pts_ms == pytest.approx(times[number], abs=1)


def test_a_damaged_spot_costs_only_the_groups_that_cross_it(spoilt_video: Path) -> None:
    groups = chunks(120, 3)
    with read_groups(spoilt_video, groups, budget=ByteBudget()) as reader:
        taken = {group.index: group for group in reader}
    broken = [index for index, group in taken.items() if None in group.frames]
    assert broken
    for index in broken:
        assert any("InvalidDataError" in error for error in taken[index].decode_errors)
    for index in range(max(broken) + 1, len(groups)):
        assert taken[index].decode_errors == ()
    assert numbers(taken[39]) == [117, 118, 119]


def test_instants_past_the_end_have_no_frame(long_video: Path) -> None:
    with read_groups(long_video, [[15960, 15999, 16100], [20000]], budget=ByteBudget()) as reader:
        taken = {group.index: numbers(group) for group in reader}
    assert taken == {0: [399, 399, None], 1: [None]}


def test_a_picture_is_decoded_once_for_all_who_want_it(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy, live = Spy(monkeypatch), LiveImages(monkeypatch)
    groups = [[1000, 1000, 1001], [1000], [999, 1200], [1200, 1000]]
    budget = ByteBudget()
    with read_groups(long_video, groups, budget=budget, readers=1) as reader:
        taken = {group.index: group for group in reader}
    assert [numbers(taken[index]) for index in range(4)] == [[25, 25, 25], [25], [25, 30], [30, 25]]
    assert len({id(frame.image) for frame in taken[0].frames if frame}) == 1
    assert budget.held == 6 * FRAME_BYTES
    assert live.most <= budget.held
    given = spy.given()
    assert len(given) == len(set(given))
    assert len([event for event in spy.events if event[0] == "key"]) == 1


def test_pictures_that_no_other_needs_are_skipped_on_the_way(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    with read_groups(long_video, [[1500]], budget=ByteBudget(), readers=1) as reader:
        assert [numbers(group) for group in reader] == [[38 if number_is_nearer(1500, 38, 37) else 37]]
    assert len(spy.given()) < 0.75 * 38
    assert spy.exact == 0


def number_is_nearer(ms: int, number: int, other: int) -> bool:
    return abs(number * 40 - ms) <= abs(other * 40 - ms)


def test_a_gap_within_a_group_is_not_decoded(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    with read_groups(long_video, [[200, 8200, 14100]], budget=ByteBudget(), readers=1) as reader:
        assert [numbers(group) for group in reader] == [[5, 205, 353 if number_is_nearer(14100, 353, 352) else 352]]
    assert [pts for kind, pts in spy.events if kind == "key"] == [0, 200 * 512, 350 * 512]
    assert len(spy.given()) < 30
    assert spy.exact == 0


QUICK = (
    "constant",
    "ntsc",
    "variable",
    "offset",
    "offset-mkv",
    "open-gop",
    "open-gop-mkv",
    "long-gop",
    "ten-bit",
    "odd-size",
    "vp9",
    "vp9-live",
    "hevc",
    "av1",
    "prores",
    "motion-jpeg",
    "mpeg2-mkv",
    "interlaced",
    "rotated",
)


@pytest.mark.parametrize("name", QUICK)
def test_healthy_files_are_read_in_the_quick_way(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    spy = Spy(monkeypatch)
    recipe = next(recipe for recipe in RECIPES if recipe.name == name)
    times = [round(float(time) * 1000) for time in frame_times(recipe)]
    groups = [times[start : start + 10] for start in range(0, len(times), 10)]
    with read_groups(make(recipe, folder), groups, budget=ByteBudget(), readers=1) as reader:
        assert len(list(reader)) == len(groups)
    assert spy.exact <= len(groups) // 4


def test_instants_are_rounded_to_the_nearest_tick(long_video: Path) -> None:
    source = Source(long_video)
    try:
        assert [source.ticks(ms) for ms in (0, 1, 2, 5, -1)] == [0, 13, 26, 64, -13]
        assert source.milliseconds(12800) == pytest.approx(1000)
    finally:
        source.close()
