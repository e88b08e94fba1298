"""From a TimeFrame and the call's parameters to what the engine is asked."""

from pathlib import Path
from typing import Any

import pytest
from mmif import Mmif
from PIL import Image

from captioning.call import _request
from captioning.frames import Frames
from captioning.notes import fit_notes
from captioning.parameters import Framing, Parameters
from captioning.plan import Task, plan
from demo.annotations import interval_mmif, swt_mmif
from demo.broadcast import Broadcast, Segment, render
from engine.context import Fit
from engine.conversation import Clip
from metadata import appmetadata
from sampling.timepoints import Instant
from sampling.timepoints import Segment as Times

FRAMES = tuple(Image.new("RGB", (8, 8)) for _ in range(3))


def parameters(**refined: Any) -> Parameters:
    defaults = {p.name: p.default for p in appmetadata().parameters}
    return Parameters.of(defaults | {"tfSamplingMode": "all", "prompt": ["?"]} | refined)


def frames(*times: float, span: tuple[int, int] = (2000, 9000), part: int = 0) -> Frames:
    instants = tuple(Instant(round(ms)) for ms in times)
    task = Task("v_1:tf_1", "d1", Path("a.mp4"), instants, span, part)
    return Frames(0, task, FRAMES[: len(times)], instants, times, ())


def asked(given: Frames, **refined: Any) -> Any:
    return _request(given, parameters(**refined), lambda count: [[{"role": "user", "content": f"{count} frames"}]])


def test_by_default_a_request_says_nothing_of_framing() -> None:
    request = asked(frames(2000.0, 3000.0))
    assert (request.longest_edge, request.overflow, request.clip) == (0, "shrink", None)
    assert request.images == FRAMES[:2]
    assert request.turns == [[{"role": "user", "content": "2 frames"}]]
    assert request.sampling.seed is None


def test_parameters_reach_the_request() -> None:
    request = asked(frames(2000.0), longestEdge=768, contextOverflow="skip")
    assert (request.longest_edge, request.overflow) == (768, "skip")


def test_video_times_are_the_pictures_own_from_the_start_of_the_timeframe() -> None:
    assert asked(frames(2002.0, 3003.0, 8975.6), frameFormat="video").clip == Clip((2.0, 1003.0, 6975.6), 7000)


def test_a_time_a_hair_short_of_a_second_is_that_second() -> None:
    assert asked(frames(3999.9999999), frameFormat="video").clip == Clip((2000.0,), 7000)


def test_video_times_never_precede_the_start_nor_pass_the_end() -> None:
    assert asked(frames(1990.0, 9010.0), frameFormat="video").clip == Clip((0.0, 7010.0), 7010.0)


def test_a_part_of_a_timeframe_keeps_its_times_and_duration() -> None:
    assert asked(frames(7000.0, 8000.0, part=1), frameFormat="video").clip == Clip((5000.0, 6000.0), 7000)


def test_each_prompt_has_random_numbers_of_its_own_and_the_same_every_time() -> None:
    def seed(given: Frames, **refined: Any) -> Any:
        return asked(given, temperature=1.0, **refined).sampling.seed

    first, second = frames(2000.0), frames(2000.0, part=1)
    assert seed(first, seed=7) == seed(frames(2000.0), seed=7)
    assert len({seed(first, seed=7), seed(second, seed=7), seed(first, seed=8)}) == 3
    assert seed(first, seed=0) is not None
    assert seed(first) is None


def test_the_span_of_a_timeframe() -> None:
    points = tuple(Instant(ms) for ms in (5000, 4000, 7000))
    assert Times(targets=points, interval=(1, 2)).span == (1, 2)
    assert Times(targets=points, representatives=(Instant(1),)).span == (4000, 7000)
    assert Times(representatives=points[:1]).span == (5000, 5000)
    assert Times().span == (0, 0)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Broadcast:
    segments = (Segment("bars", "grey", 0, 2), Segment("slate", "blue", 2, 4))
    return render(tmp_path_factory.mktemp("framing") / "video.mp4", segments)


def test_tasks_know_their_span_and_part(short: Broadcast) -> None:
    by_points = plan(Mmif(swt_mmif(short, step_ms=250, labels=["slate"])), parameters(maxImagesPerPrompt=3))
    assert [(task.span, task.part) for task in by_points.tasks] == [((2000, 3750), n) for n in range(3)]
    by_interval = plan(Mmif(interval_mmif(short, labels=["slate"])), parameters())
    assert [(task.span, task.part) for task in by_interval.tasks] == [((2000, 4000), 0)]


def test_what_fits_is_not_worth_a_word() -> None:
    assert fit_notes("TimeFrame x", 3, Fit(1536, 1536, 200, 200, 4000)) == []
    assert fit_notes("TimeFrame x", 3, None) == []


def test_what_was_changed_is_told() -> None:
    notes = fit_notes("TimeFrame x (part 2)", 8, Fit(768, 1536, 99, 200, 4000))
    assert [str(note) for note in notes] == [
        "TimeFrame x (part 2): its 8 frames were shrunk from 1536 to 768 px to fit into the model's context. "
        "A smaller maxImagesPerPrompt keeps more detail.",
        "TimeFrame x (part 2): maxNewTokens was reduced from 200 to 99, the room that its prompt leaves in the model's "
        "context.",
    ]


@pytest.mark.parametrize(
    ("refined", "message"),
    [
        ({"longestEdge": -1}, '"longestEdge" must be an integer of at least 0; got -1'),
        ({"contextOverflow": "crop"}, "\"contextOverflow\" must be one of .*'shrink', 'skip'.*; got 'crop'"),
        ({"frameFormat": "gif"}, "\"frameFormat\" must be one of .*'images', 'video'.*; got 'gif'"),
        ({"frameFormat": "video", "longestEdge": 768}, '"longestEdge" must be 0 where "frameFormat" is video.*got 768'),
    ],
)
def test_wrong_framing_is_refused(refined: dict[str, Any], message: str) -> None:
    defaults = {p.name: p.default for p in appmetadata().parameters}
    with pytest.raises(ValueError, match=message):
        Framing.of(defaults | refined)


def test_the_metadata_offers_each_with_a_default_that_changes_nothing() -> None:
    offered = {p.name: (p.type, p.default, p.choices, p.multivalued) for p in appmetadata().parameters}
    assert offered["longestEdge"] == ("integer", 0, None, False)
    assert offered["contextOverflow"] == ("string", "shrink", ["shrink", "skip"], False)
    assert offered["frameFormat"] == ("string", "images", ["images", "video"], False)
    assert offered["seed"] == ("integer", -1, None, False)


def test_the_metadata_speaks_of_frames_and_never_of_tiles() -> None:
    described = {p.name: p.description for p in appmetadata().parameters}
    for name in ("longestEdge", "contextOverflow", "frameFormat", "seed"):
        assert "tile" not in described[name]
    table = (Path(__file__).parent.parent.parent / "docs" / "context.md").read_text()
    (sd,) = [line.split(" | ") for line in table.splitlines() if line.startswith("| SD")]
    for edge, cell in zip((1536, 1152, 768, 384), sd[1:]):
        assert f"at {edge} about {cell.split()[2]}" in described["longestEdge"]
    assert f"about {sd[5].split()[2]} fit" in described["frameFormat"]
