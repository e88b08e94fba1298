"""Workloads: fresh frames in every turn at the same cost, and a MMIF that asks for the same."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import ImageChops

from bench import workloads
from bench.workloads import FRAMES, LENGTHS, Workload, fresh_prompts, mixed, of_mmif, uniform
from demo.broadcast import Broadcast


@pytest.fixture(autouse=True)
def video(monkeypatch: pytest.MonkeyPatch, broadcast: Broadcast) -> None:
    monkeypatch.setattr(workloads, "video", lambda quick=False, part=0: broadcast.path)


def test_parts_of_the_broadcast_show_seconds_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(workloads, "FOLDER", tmp_path)
    monkeypatch.setattr(workloads, "QUICK_SECONDS", 6)
    first, second = (workloads.broadcast(1, 0, quick=True, part=part) for part in range(2))
    assert [prompt.instants for prompt in (*first.prompts, *second.prompts)] == [(500, 1500, 2500), (6500, 7500, 8500)]
    assert first.prompts[0].video != second.prompts[0].video
    pictures = [picture.tobytes() for workload in (first, second) for picture in workload.images()[0]]
    assert len(set(pictures)) == 6


def shape(workload: Workload) -> list[tuple[int, int]]:
    return [(len(prompt.instants), prompt.tokens) for prompt in workload.prompts]


def test_turns_cost_the_same_and_have_no_frame_in_common() -> None:
    turns = [mixed(20, turn) for turn in range(8)]
    assert all(shape(turn) == shape(turns[0]) for turn in turns)
    seen = Counter(ms for turn in turns for prompt in turn.prompts for ms in prompt.instants)
    assert max(seen.values()) == 1
    assert Counter(frames for frames, _ in shape(turns[0])) == Counter(FRAMES * 2)
    assert Counter(tokens for _, tokens in shape(turns[0])) == Counter(LENGTHS * 2)


def test_the_images_are_the_frames_asked_for(broadcast: Broadcast) -> None:
    workload = uniform(3, 0, frames=2, tokens=9, quick=True)
    images = workload.images()
    assert [len(group) for group in images] == [2, 2, 2]
    assert all(image.size == (640, 480) for group in images for image in group)
    instants = [ms for prompt in workload.prompts for ms in prompt.instants]
    assert instants == [500, 1500, 2500, 3500, 4500, 5500]


def test_the_mmif_asks_for_the_same_prompts(tmp_path: Path) -> None:
    workload = mixed(10, 1)
    file = tmp_path / "workload.mmif"
    file.write_text(workload.mmif())
    planned = of_mmif([file], 6, tokens=200)
    assert [prompt.instants for prompt in planned.prompts] == [prompt.instants for prompt in workload.prompts]
    labels = [
        annotation["properties"]["label"]
        for view in json.loads(file.read_text())["views"]
        for annotation in view["annotations"]
        if "TimeFrame" in annotation["@type"]
    ]
    assert labels == [str(prompt.tokens) for prompt in workload.prompts]
    # Files have the same frames in every turn; a pixel tells them apart, and nothing else.
    first, again = workload.images()[0][0], planned.images()[0][0]
    assert ImageChops.difference(first, again).getbbox() == (0, 0, 1, 1)
    assert again.getpixel((0, 0)) == (7, 0, 0)


@pytest.mark.parametrize("quick", [False, True])
def test_no_two_calls_of_the_broadcast_have_a_frame_in_common(quick: bool) -> None:
    calls = [workloads.broadcast(1, turn, quick=quick) for turn in range(fresh_prompts(quick))]
    beside = [workloads.broadcast(400, turn, quick=quick, part=1) for turn in range(2)]
    seen = [ms for workload in calls for prompt in workload.prompts for ms in prompt.instants]
    assert len(set(seen)) == len(seen) == 3 * fresh_prompts(quick)
    assert set(seen).isdisjoint(ms for workload in beside for prompt in workload.prompts for ms in prompt.instants)
