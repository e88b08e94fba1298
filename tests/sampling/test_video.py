"""The reader's promises apart from equality: bounded, ahead of the consumer, stopped at once, thrifty."""

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from PIL import Image

from sampling import exact, video
from sampling.pixels import image_bytes
from sampling.source import Source
from sampling.video import ByteBudget, FrameGroup, GroupReader, VideoError, read_groups
from tests.sampling.video_files import FRONT, PYRAMID, RECIPES, Recipe, frame_times, make, number_of, spoil

SIZE = (192, 144)
FRAME_BYTES = image_bytes(*SIZE)
LONG = Recipe("long", "mp4", frames=400, gop=50, options=PYRAMID)
SPOILT = Recipe("spoilt", "mp4", container=FRONT, gop=30, options=PYRAMID, damage=spoil(0.5, 1500, seed=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    av.logging.set_level(av.logging.PANIC)
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def long_video(folder: Path) -> Path:
    return make(LONG, folder)


@pytest.fixture(scope="module")
def spoilt_video(folder: Path) -> Path:
    return make(SPOILT, folder)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test may leave a reader's thread or an open video behind."""
    yield
    assert leftovers() == []


def leftovers() -> list[str]:
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("frames-")]
    return threads + [file.path for file in psutil.Process().open_files() if Path(file.path).suffix in {".mp4", ".mkv"}]


def until(true: Callable[[], bool]) -> None:
    """Wait for something that has to come; a test that waits in vain fails."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def chunks(frames: int, size: int, rate: int = 25) -> list[list[int]]:
    """Every frame of a video, in groups."""
    return [
        [number * 1000 // rate for number in range(start, min(start + size, frames))]
        for start in range(0, frames, size)
    ]


def numbers(group: FrameGroup) -> list[int | None]:
    return [frame and number_of(frame.image) for frame in group.frames]


class LiveImages:
    """Counts the bytes of the images that exist, whoever knows them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        self.lock = threading.RLock()
        make_image = Source.image

        def counted(source: Source, frame: Any) -> Image.Image:
            image = make_image(source, frame)
            size = image_bytes(image.width, image.height)
            self.add(size)
            weakref.finalize(image, self.add, -size)
            return image

        monkeypatch.setattr(Source, "image", counted)

    def add(self, size: int) -> None:
        with self.lock:
            self.now += size
            self.most = max(self.most, self.now)


class Spy:
    """Notes in order what the decoder is given and which groups are handed over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, int]] = []
        self.exact = 0
        spy = self

        class Codec:
            def __init__(self, codec: Any) -> None:
                self.codec = codec

            def __getattr__(self, name: str) -> Any:
                return getattr(self.codec, name)

            def decode(self, packet: Any) -> Any:
                if packet is not None:
                    spy.events.append(("key" if packet.is_keyframe else "packet", packet.pts))
                return self.codec.decode(packet)

        class Spied(Source):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self.codec = Codec(self.codec)

        hand_over, read = video._Desk._hand_over, exact.read

        def noted(desk: video._Desk, group: FrameGroup) -> None:
            self.events.append(("group", group.index))
            hand_over(desk, group)

        def counted(*arguments: Any) -> None:
            self.exact += 1
            read(*arguments)

        monkeypatch.setattr(video, "Source", Spied)
        monkeypatch.setattr(video._Desk, "_hand_over", noted)
        monkeypatch.setattr(exact, "read", counted)

    def given(self) -> list[int]:
        """Timestamps of the packets that were decoded, in seconds/12800."""
        return [pts for kind, pts in self.events if kind != "group"]


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


def test_no_more_bytes_of_images_exist_than_the_budget_allows(
    long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, budget = LiveImages(monkeypatch), ByteBudget(10 * FRAME_BYTES)
    groups = chunks(400, 4)
    with read_groups(long_video, groups, budget=budget, readers=3) as reader:
        until(lambda: budget.waiting > 0)
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
        until(lambda: budget.held >= 5 * 4 * FRAME_BYTES)
        with next(reader) as group:
            assert group.index == 0
            until(lambda: budget.held >= 6 * 4 * FRAME_BYTES)
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
    until(lambda: budget.waiting > 0)
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
    until(lambda: len(spy.given()) > 3)
    reader.close()
    decoded = len(spy.given())
    assert decoded < 300
    assert leftovers() == []
    assert list(reader) == []


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


def test_nothing_asked_is_nothing_read(folder: Path) -> None:
    with read_groups(folder / "absent.mp4", [[], []], budget=ByteBudget()) as reader:
        assert [(group.index, group.frames) for group in reader] == [(0, ()), (1, ())]
    assert list(read_groups(folder / "absent.mp4", [], budget=ByteBudget())) == []


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


def test_readers_can_be_used_as_iterators(long_video: Path) -> None:
    reader = read_groups(long_video, [[0], [40]], budget=ByteBudget())
    assert isinstance(reader, GroupReader)
    assert iter(reader) is reader
    assert sorted(group.index for group in reader) == [0, 1]
