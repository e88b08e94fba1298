"""The reader against the SDK: the same pixels for every instant, on every kind of file."""

import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import pytest
from mmif import Document
from mmif.utils.video_document_helper import extract_images_from_timepoints
from PIL import Image

from sampling.video import ByteBudget, read_groups
from tests.sampling.video_files import RECIPES, Recipe, frame_times, make

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
                for ms, frame, image in zip(asked, group.frames, by_the_sdk(path, asked), strict=True):
                    assert (frame is None) == (image is None), f"{ms} ms of {asked}"
                    if frame is not None and image is not None:
                        assert frame.instant_ms == ms
                        assert frame.image.mode == image.mode
                        assert frame.image.size == image.size
                        assert frame.image.tobytes() == image.tobytes(), f"{ms} ms of {asked}"
    assert seen == set(range(len(groups)))
    assert budget.held == 0
