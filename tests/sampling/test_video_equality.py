"""The reader against the SDK: the same pixels for every instant, on every kind of file."""

import contextlib
import random
import warnings
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import av
import pytest
from mmif import Document
from mmif.utils.video_document_helper import extract_images_from_timepoints
from PIL import Image

from sampling.video import ByteBudget, read_groups
from tests.sampling.video_files import FRONT, PYRAMID, RECIPES, Recipe, frame_times, make

READABLE = [recipe for recipe in RECIPES if recipe.readable]
Groups = list[list[int]]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    av.logging.set_level(av.logging.PANIC)
    folder = tmp_path_factory.mktemp("videos")
    made: dict[str, Path] = {}

    def get(recipe: Recipe) -> Path:
        if recipe.name not in made:
            made[recipe.name] = make(recipe, folder)
        return made[recipe.name]

    return get


def by_the_sdk(path: Path, instants: Sequence[int]) -> list[Image.Image | None]:
    document = Document()
    document.at_type = "http://mmif.clams.ai/vocabulary/VideoDocument/v1"
    document.id = "v"
    document.location = path.as_uri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(extract_images_from_timepoints(document, instants, as_PIL=True))
        except RuntimeError:
            return [None] * len(instants)


@lru_cache(maxsize=64)  # of one video: with one reader and with two the same is asked of it
def once_by_the_sdk(path: Path, instants: tuple[int, ...]) -> list[Image.Image | None]:
    return by_the_sdk(path, instants)


@cache
def decoded_times(path: Path) -> list[float]:
    """When each frame is shown, in ms, of all that are decoded from the start on."""
    times = []
    with av.open(str(path)) as container, contextlib.suppress(av.error.FFmpegError):
        for frame in container.decode(video=0):
            times.append(frame.pts * float(frame.time_base) * 1000)
    return times


def representatives(times: list[float], dice: random.Random) -> Groups:
    """Single instants in time order, some just before the first frame and after the last."""
    instants = [round(dice.uniform(times[0] - 80, times[-1] + 120)) for _ in range(50)]
    return [[ms] for ms in sorted(instants)]


def every_frame(times: list[float], dice: random.Random) -> Groups:
    """All frames in prompts of eight."""
    instants = [round(ms) for ms in times]
    return [instants[start : start + 8] for start in range(0, len(instants), 8)]


def anyhow(times: list[float], dice: random.Random) -> Groups:
    """Groups that overlap, repeat, run backwards, leave gaps, or ask for nothing."""
    groups: Groups = [[]]
    for _ in range(25):
        start = dice.uniform(times[0] - 50, times[-1])
        span = dice.choice([30, 200, 1000, 5000])
        groups.append([round(dice.uniform(start, start + span)) for _ in range(dice.randrange(1, 6))])
    groups += groups[3:6]
    dice.shuffle(groups)
    return groups


@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize("mode", [representatives, every_frame, anyhow])
@pytest.mark.parametrize("recipe", READABLE, ids=lambda recipe: recipe.name)
def test_every_picture_is_the_one_the_sdk_gives(
    video: Callable[[Recipe], Path], recipe: Recipe, mode: Callable[[list[float], random.Random], Groups], readers: int
) -> None:
    path = video(recipe)
    times = [float(time) * 1000 for time in frame_times(recipe)]
    groups = mode(times, random.Random(f"{recipe.name} {mode.__name__}"))
    budget = ByteBudget()
    seen: set[int] = set()
    with read_groups(path, groups, budget=budget, readers=readers) as reader:
        for group in reader:
            with group:
                assert group.index not in seen
                seen.add(group.index)
                asked = groups[group.index]
                assert len(group.frames) == len(asked)
                for ms, frame, image in zip(asked, group.frames, once_by_the_sdk(path, tuple(asked)), strict=True):
                    if image is None and frame is not None:  # the SDK's seek came down after it
                        nearest = min(abs(time - ms) for time in decoded_times(path))
                        assert abs(frame.pts_ms - ms) == pytest.approx(nearest, abs=0.01)
                        continue
                    assert (frame is None) == (image is None), f"{ms} ms of {asked}"
                    if frame is not None and image is not None:
                        assert frame.instant_ms == ms
                        assert frame.image.mode == image.mode
                        assert frame.image.size == image.size
                        assert frame.image.tobytes() == image.tobytes(), f"{ms} ms of {asked}"
    assert seen == set(range(len(groups)))
    assert budget.held == 0


BREAKABLE = Recipe("breakable", "mp4", frames=60, container=FRONT, gop=30, options=PYRAMID)


@pytest.mark.parametrize("noise", [b"\0" * 6, b"\0\0\0\x05\x01\xff", b"\xff" * 6], ids=["zeros", "header", "length"])
@pytest.mark.parametrize("broken", [33, 34, 35, 36])
def test_one_broken_packet_leaves_the_pictures_that_the_sdk_finds(
    video: Callable[[Recipe], Path], tmp_path: Path, broken: int, noise: bytes
) -> None:
    """Packets of all kinds in turn, wanted or not: the SDK stops at each, before or after the picture it looks for."""
    path = tmp_path / "broken.mp4"
    data = bytearray(video(BREAKABLE).read_bytes())
    with av.open(str(video(BREAKABLE))) as container:
        packets = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    data[packets[broken] : packets[broken] + len(noise)] = noise
    path.write_bytes(data)
    groups = [[number * 40] for number in range(28, 46)]
    with read_groups(path, groups, budget=ByteBudget(), readers=1) as reader:
        for group in reader:
            asked = groups[group.index]
            for frame, image in zip(group.frames, by_the_sdk(path, asked), strict=True):
                assert (frame and frame.image.tobytes()) == (image and image.tobytes()), asked
