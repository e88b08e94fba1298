"""Files without an index: pictures also where the SDK's seek comes down too late to find any."""

from pathlib import Path

import av
import pytest

from sampling.video import ByteBudget, read_groups
from tests.sampling.test_video_equality import by_the_sdk
from tests.sampling.video_files import RECIPES, make, number_of

Shown = list[tuple[float, int, bytes]]


@pytest.fixture(
    scope="module", params=["mpeg2", "mpeg2-audio", "mpeg2-ts", "transport", "interlaced-mpg", "truncated-mpg"]
)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    av.logging.set_level(av.logging.PANIC)
    return make(next(recipe for recipe in RECIPES if recipe.name == request.param), tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def shown(path: Path) -> Shown:
    """When each frame is shown, in ms, which number it shows, and its pixels; decoded from the start on."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    images = [frame.to_image() for frame in frames]
    return [(float(f.pts * f.time_base) * 1000, number_of(i), i.tobytes()) for f, i in zip(frames, images, strict=True)]


def test_every_frame_can_be_had_at_its_time(path: Path, shown: Shown) -> None:
    groups = [[round(ms)] for ms, _, _ in shown]
    by_sdk = [by_the_sdk(path, group)[0] for group in groups]
    assert sum(image is None for image in by_sdk) > len(shown) // 2
    with read_groups(path, groups, budget=ByteBudget()) as reader:
        taken = {group.index: group.frames[0] for group in reader}
    for index, (ms, number, pixels) in enumerate(shown):
        frame, image = taken[index], by_sdk[index]
        assert frame is not None
        if image is None:
            assert number_of(frame.image) == number
            assert frame.image.tobytes() == pixels
            assert frame.pts_ms == pytest.approx(ms)
        else:
            assert frame.image.tobytes() == image.tobytes()


def test_a_group_over_the_whole_file_is_complete(path: Path, shown: Shown) -> None:
    group = [round(ms) for ms, _, _ in shown]
    by_sdk = by_the_sdk(path, group)
    with read_groups(path, [group], budget=ByteBudget()) as reader:
        [taken] = reader
    assert None in by_sdk
    for frame, image, (_, number, _) in zip(taken.frames, by_sdk, shown, strict=True):
        assert frame is not None
        assert number_of(frame.image) == (number if image is None else number_of(image))


def test_before_the_first_frame_and_after_the_last_there_is_none(path: Path, shown: Shown) -> None:
    first, last = shown[0][0], shown[-1][0]
    groups = [[round(first - 1000)], [round(last + 1000)], [round(first - 1000), round(first), round(last + 1000)]]
    with read_groups(path, groups, budget=ByteBudget()) as reader:
        taken = {group.index: group.frames for group in reader}
    assert (taken[0], taken[1]) == ((None,), (None,))
    before, at, after = taken[2]
    assert (before, after) == (None, None)
    assert at is not None
    assert number_of(at.image) == shown[0][1]
