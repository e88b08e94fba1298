"""TimeFrames of any length over the app's door: captioned as well as the context allows, and the record says how."""

from typing import Any

import pytest
from mmif import AnnotationTypes, Mmif

from demo.annotations import interval_mmif, swt_mmif
from demo.broadcast import Broadcast
from engine.engine import Engine
from tests.captions import caption_views, captions, error, marks, warnings, without_times
from tests.conftest import Post


@pytest.fixture
def slates(broadcast: Broadcast) -> str:
    return swt_mmif(broadcast, labels=["slate"], representatives=3)


def test_when_all_fits_nothing_is_said(post: Post, slates: str) -> None:
    answer = post(slates)
    assert set(map(str, marks(answer))) == {"{}"}
    assert warnings(answer) == []
    named = post(slates, longestEdge=0, contextOverflow="shrink", frameFormat="images", seed=-1)
    assert without_times(named) == without_times(answer)


def test_a_shrunk_timeframe_is_read_and_recorded(post: Post, slates: str, broadcast: Broadcast, engine: Engine) -> None:
    answer = post(slates, maxNewTokens=engine.context_length - 150)
    found = captions(answer)
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]
    assert marks(answer) == [{"longestEdge": 64}] * len(found)
    said = warnings(answer)
    assert len(said) == len(found)
    for caption, warning in zip(found, said):
        assert f"TimeFrame {caption.time_frame}: its 3 frames were shrunk from 128 to 64 px" in warning


def test_skip_captions_none_of_them(post: Post, slates: str, engine: Engine) -> None:
    answer = post(slates, 500, maxNewTokens=engine.context_length - 150, contextOverflow="skip")
    assert "CaptioningFailed" in error(answer)
    assert "Set maxImagesPerPrompt to 2 or less to have it captioned in parts, or contextOverflow to shrink" in error(
        answer
    )


def test_the_maximum_that_a_refusal_names_works(post: Post, broadcast: Broadcast, engine: Engine) -> None:
    mmif = Mmif(swt_mmif(broadcast, labels=["slate", "bars"]))
    time_frame = next(mmif["v_1"].get_annotations(AnnotationTypes.TimeFrame))
    targets = time_frame.get_property("targets")
    time_frame.add_property("targets", (targets * 300)[:300])
    refused = post(mmif.serialize(), tfSamplingMode="all", maxNewTokens=20)
    (warning,) = warnings(refused)
    assert f"TimeFrame {time_frame.id} was not captioned: The prompt is too long: " in warning
    assert f" tokens with its 300 frame(s) at 64 px and 20 for the answer, of {engine.context_length}" in warning
    assert time_frame.id not in {caption.time_frame for caption in captions(refused)}
    works = int(warning.split("Set maxImagesPerPrompt to ")[1].split()[0])
    answer = post(mmif.serialize(), tfSamplingMode="all", maxNewTokens=20, maxImagesPerPrompt=works, parallelPrompts=4)
    parts = [caption for caption in captions(answer) if caption.time_frame == time_frame.id]
    assert [len(part.origins) for part in parts] == [works, 300 - works]
    assert [id_ for part in parts for id_ in part.origins] == (targets * 300)[:300]


def test_parts_of_a_timeframe_stand_in_order_each_with_its_frames(post: Post, broadcast: Broadcast) -> None:
    mmif = swt_mmif(broadcast, step_ms=500, labels=["slate", "bars"])
    for mode in ("max", "balanced"):
        answer = post(mmif, tfSamplingMode="all", maxImagesPerPrompt=3, imagesPerPromptMode=mode, parallelPrompts=8)
        found = captions(answer)
        assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]
        for time_frame in Mmif(mmif)["v_1"].get_annotations(AnnotationTypes.TimeFrame):
            parts = [caption for caption in found if caption.time_frame == time_frame.id]
            assert [id_ for part in parts for id_ in part.origins] == time_frame.get_property("targets")
            sizes = [len(part.origins) for part in parts]
            assert max(sizes) <= 3
            if mode == "balanced":
                assert max(sizes) - min(sizes) <= 1
            else:
                assert set(sizes[:-1]) <= {3}


def test_parts_are_fitted_one_by_one(post: Post, broadcast: Broadcast, engine: Engine) -> None:
    mmif = swt_mmif(broadcast, labels=["slate"], representatives=3)
    answer = post(mmif, maxImagesPerPrompt=2, maxNewTokens=engine.context_length - 150, parallelPrompts=4)
    found = captions(answer)
    assert [len(caption.origins) for caption in found] == [2, 1] * (len(found) // 2)
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]
    # Two frames and their text leave just as much as one: all at full size.
    assert marks(answer) == [{}] * len(found)


@pytest.mark.parametrize("edge", [64, 128])
def test_a_resolution_that_is_asked_for_is_taken_and_read(
    post: Post, slates: str, broadcast: Broadcast, edge: int
) -> None:
    answer = post(slates, longestEdge=edge)
    found = captions(answer)
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]
    assert marks(answer) == [{}] * len(found)
    (view,) = caption_views(answer)
    assert view.metadata.appConfiguration["longestEdge"] == edge


def test_video_wording_reads_the_frames(post: Post, slates: str, broadcast: Broadcast) -> None:
    found = captions(post(slates, frameFormat="video"))
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]
    interval = post(interval_mmif(broadcast, labels=["slate"]), frameFormat="video", tfSamplingMode="single")
    found = captions(interval)
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]


def test_a_maximum_beyond_the_context_is_reduced_and_said(post: Post, slates: str, engine: Engine) -> None:
    answer = post(slates, maxNewTokens=100_000)
    for caption, mark, warning in zip(captions(answer), marks(answer), warnings(answer), strict=True):
        assert set(mark) == {"maxNewTokens"}
        assert 0 < mark["maxNewTokens"] < engine.context_length
        reduced = f"maxNewTokens was reduced from 100000 to {mark['maxNewTokens']}"
        assert f"TimeFrame {caption.time_frame}: {reduced}" in warning


def test_a_cut_caption_is_kept_and_marked(post: Post, slates: str) -> None:
    whole, cut = captions(post(slates)), post(slates, maxNewTokens=5)
    assert marks(cut) == [{"finishReason": "length"}] * len(whole)
    for caption, complete in zip(captions(cut), whole):
        assert complete.text.startswith(caption.text)
        assert caption.text != complete.text


def test_a_seed_repeats_the_captions_whatever_the_order(post: Post, broadcast: Broadcast) -> None:
    mmif = swt_mmif(broadcast)
    wild = {"temperature": 2.0, "topK": 0, "maxNewTokens": 20}
    first = [caption.text for caption in captions(post(mmif, seed=11, parallelPrompts=8, **wild))]
    again = [caption.text for caption in captions(post(mmif, seed=11, parallelPrompts=3, **wild))]
    other = [caption.text for caption in captions(post(mmif, seed=12, parallelPrompts=8, **wild))]
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        ({"longestEdge": 100}, ['"longestEdge" must be one of 64, 128 px, or 0', "got 100"]),
        ({"longestEdge": 192}, ['"longestEdge" must be one of 64, 128 px, or 0', "got 192"]),
        ({"longestEdge": "big"}, ["longestEdge", "integer"]),
        ({"longestEdge": 64, "frameFormat": "video"}, ['"longestEdge" must be 0', "got 64"]),
        ({"contextOverflow": "crop"}, ["contextOverflow", "shrink"]),
        ({"frameFormat": "gif"}, ["frameFormat", "video"]),
        ({"seed": -2}, ['"seed" must be an integer from 0', "got -2"]),
    ],
)
def test_what_can_not_be_used_is_refused(post: Post, slates: str, parameters: dict[str, Any], parts: list[str]) -> None:
    answer = post(slates, 500, **parameters)
    for part in parts:
        assert part in error(answer)
