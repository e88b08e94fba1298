"""TimeFrames of every shape become the same prompts."""

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mmif import AnnotationTypes, Mmif
from mmif.serialize import annotation

from captioning.parameters import Parameters
from captioning.places import ANYWHERE
from captioning.plan import Plan, plan
from captioning.running import CallCancelled, Reason, RunningCall
from captioning.urls import Url
from captioning.warning import Cause
from demo.annotations import interval_mmif, swt_mmif
from demo.broadcast import Broadcast, Segment, render
from metadata import appmetadata

SEGMENTS = (Segment("bars", "grey", 0, 2), Segment("slate", "blue", 2, 4), Segment("chyron", "red", 4, 6))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Broadcast:
    return render(tmp_path_factory.mktemp("plan") / "a video.mp4", SEGMENTS)


def parameters(**refined: Any) -> Parameters:
    defaults = {p.name: p.default for p in appmetadata().parameters}
    return Parameters.of(defaults | {"tfSamplingMode": "representatives", "prompt": ["?"]} | refined)


def planned(mmif: str | Mmif, **refined: Any) -> Plan:
    return plan(mmif if isinstance(mmif, Mmif) else Mmif(mmif), parameters(**refined))


def said(made: Plan) -> list[tuple[Cause, str]]:
    return [(warning.cause, str(warning)) for warning in made.warnings]


def points(made: Plan) -> list[list[tuple[int, str | None]]]:
    return [[(instant.ms, instant.time_point) for instant in task.instants] for task in made.tasks]


@pytest.mark.parametrize("document", ["contains", "annotation", "timepoints"])
@pytest.mark.parametrize("one_view", [False, True])
def test_swt_shapes(short: Broadcast, document: Any, one_view: bool) -> None:
    made = planned(swt_mmif(short, representatives=1, document=document, one_view=one_view))
    assert points(made) == [[(1500, "v_0:tp_2")], [(3500, "v_0:tp_4")], [(5500, "v_0:tp_6")]]
    view = "v_0" if one_view else "v_1"
    assert [task.time_frame for task in made.tasks] == [f"{view}:tf_{n}" for n in (1, 2, 3)]
    assert {(task.document, task.path) for task in made.tasks} == {("d1", short.path)}
    assert made.warnings == []


@pytest.mark.parametrize("unit", ["milliseconds", "seconds", "frames"])
@pytest.mark.parametrize("unit_on", ["contains", "annotation"])
@pytest.mark.parametrize("document", ["contains", "annotation"])
def test_intervals_in_any_unit(short: Broadcast, unit: Any, unit_on: Any, document: Any) -> None:
    made = planned(interval_mmif(short, unit=unit, unit_on=unit_on, document=document), tfSamplingMode="single")
    (first,), (second,), (third,) = points(made)
    # frames are rounded, so that milliseconds made of them can be off by half a frame
    assert [first[0], second[0], third[0]] == pytest.approx([1000, 3000, 5000], abs=17)
    assert {id_ for _, id_ in (first, second, third)} == {None}


def test_all_takes_targets(short: Broadcast) -> None:
    made = planned(swt_mmif(short), tfSamplingMode="all", tfLabels=["slate"])
    assert points(made) == [[(2500, "v_0:tp_3"), (3500, "v_0:tp_4")]]


def test_all_samples_an_interval_at_the_frame_rate(short: Broadcast) -> None:
    made = planned(interval_mmif(short), tfSamplingMode="all", tfLabels=["slate"])
    ((task),) = made.tasks
    assert [instant.ms for instant in task.instants] == [round(2000 + i * 1000 / 29.97) for i in range(60)]


def test_max_images_per_prompt_splits_in_order(short: Broadcast) -> None:
    mmif = swt_mmif(short, step_ms=250, labels=["slate"])
    times = [2000 + 250 * i for i in range(8)]
    largest = planned(mmif, tfSamplingMode="all", maxImagesPerPrompt=3)
    assert [[ms for ms, _ in group] for group in points(largest)] == [times[:3], times[3:6], times[6:]]
    balanced = planned(mmif, tfSamplingMode="all", maxImagesPerPrompt=7, imagesPerPromptMode="balanced")
    assert [[ms for ms, _ in group] for group in points(balanced)] == [times[:4], times[4:]]


def test_labels_select(short: Broadcast) -> None:
    made = planned(swt_mmif(short), tfLabels=["bars", "chyron"])
    assert [task.time_frame for task in made.tasks] == ["v_1:tf_1", "v_1:tf_3"]


def test_an_unknown_label_is_told_with_those_there_are(short: Broadcast) -> None:
    made = planned(swt_mmif(short), tfLabels=["credits"])
    assert made.tasks == []
    assert said(made) == [
        (Cause.NOTHING_SELECTED, "No TimeFrame has the label credits; the input has bars, chyron, slate. See tfLabels.")
    ]
    assert made.failures == 0


def test_timeframes_without_representatives_are_skipped_and_named(short: Broadcast) -> None:
    made = planned(interval_mmif(short, labels=["slate"]))
    assert made.tasks == []
    ((cause, text),) = said(made)
    assert cause is Cause.NO_REPRESENTATIVES
    assert text.startswith("TimeFrame v_0:tf_1 was skipped: it has no representatives.")
    assert made.failures == 0


def test_a_missing_file_is_one_warning_for_the_document(short: Broadcast) -> None:
    mmif = Mmif(swt_mmif(short))
    mmif["d1"].location = "file:///nowhere/gone.mp4"
    made = planned(mmif)
    assert made.tasks == []
    text = (
        "3 TimeFrames were not captioned (v_1:tf_1, v_1:tf_2, v_1:tf_3): "
        "there is no file /nowhere/gone.mp4, where d1 should be."
    )
    assert said(made) == [(Cause.UNREADABLE_VIDEO, text)]
    assert made.failures == 3


def test_a_dangling_reference_costs_one_timeframe(short: Broadcast) -> None:
    mmif = Mmif(swt_mmif(short))
    mmif["v_1:tf_2"].add_property("representatives", ["v_0:tp_999"])
    made = planned(mmif)
    assert [task.time_frame for task in made.tasks] == ["v_1:tf_1", "v_1:tf_3"]
    ((cause, text),) = said(made)
    assert cause is Cause.UNUSABLE_TIME_FRAME
    assert "v_1:tf_2" in text
    assert "v_0:tp_999" in text
    assert made.failures == 1


def test_a_timeframe_of_something_else_than_video_is_left_alone(short: Broadcast) -> None:
    mmif = Mmif(swt_mmif(short, document="annotation"))
    mmif["d1"].add_property("fps", 29.97)
    audio = type(mmif["d1"])()
    audio.at_type = "http://mmif.clams.ai/vocabulary/AudioDocument/v1"
    audio.id = "d2"
    audio.location = "file:///nowhere/sound.wav"
    mmif.add_document(audio)
    mmif["v_1:tf_2"].add_property("document", "d2")
    made = planned(mmif)
    assert [task.time_frame for task in made.tasks] == ["v_1:tf_1", "v_1:tf_3"]
    assert made.warnings == []


def test_a_timeframe_that_says_nothing_of_when_is_named(short: Broadcast) -> None:
    mmif = Mmif(swt_mmif(short, labels=["slate"]))
    mmif["v_1"].new_annotation(AnnotationTypes.TimeFrame, "tf_9", label="slate")
    made = planned(mmif, tfSamplingMode="all")
    assert [task.time_frame for task in made.tasks] == ["v_1:tf_1"]
    assert said(made) == [
        (
            Cause.UNUSABLE_TIME_FRAME,
            "TimeFrame v_1:tf_9 was not captioned: it has neither targets nor representatives nor start and end.",
        )
    ]


def test_a_timeframe_that_may_be_of_either_video_is_named(short: Broadcast) -> None:
    mmif = Mmif(interval_mmif(short, labels=["slate"]))
    other = type(mmif["d1"])(mmif["d1"].serialize())
    other.id = "d2"
    mmif.add_document(other)
    mmif["v_0"].new_annotation(AnnotationTypes.TimeFrame, "tf_9", label="slate", start=0, end=1000)
    made = planned(mmif, tfSamplingMode="single")
    assert [(task.time_frame, task.document) for task in made.tasks] == [("v_0:tf_1", "d1")]
    ((_, text),) = said(made)
    assert text == (
        "TimeFrame v_0:tf_9 was not captioned: neither it nor its TimePoints say which of the videos it belongs to."
    )


def test_a_video_without_a_location_is_named(short: Broadcast) -> None:
    whole = json.loads(swt_mmif(short, labels=["slate"]))
    del whole["documents"][0]["properties"]["location"]
    whole["documents"][0]["properties"]["text"] = {"@value": ""}  # so that the SDK takes it
    made = planned(Mmif(whole, validate=False))
    assert made.tasks == []
    assert said(made) == [
        (Cause.UNUSABLE_TIME_FRAME, "TimeFrame v_1:tf_1 was not captioned: the video d1 has no location.")
    ]


def test_a_video_is_found_by_the_sdks_location_plugins(short: Broadcast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ``mmif_docloc_SCHEME`` packages, which the SDK looks up when it is imported."""
    plugin = ModuleType("mmif_docloc_tape")
    asked: list[str] = []

    def resolve(location: str) -> str:
        asked.append(location)
        return str(short.path)

    plugin.resolve = resolve  # type: ignore[attr-defined]
    monkeypatch.setitem(annotation.discovered_docloc_plugins, "tape", plugin)
    mmif = Mmif(swt_mmif(short))
    mmif["d1"].location = "tape://shelf-3/0042"
    assert [task.path for task in planned(mmif).tasks] == [short.path] * 3
    assert set(asked) == {"tape://shelf-3/0042"}


def test_percent_encoded_locations(short: Broadcast) -> None:
    mmif = Mmif(swt_mmif(short))
    assert " " in short.path.name
    mmif["d1"].location = short.path.as_uri()
    assert "%20" in mmif["d1"].location
    assert [task.path for task in planned(mmif).tasks] == [short.path] * 3


@pytest.mark.parametrize("unit", ["seconds", "frames"])
def test_targets_in_another_unit_say_when_a_timeframe_begins_and_ends(short: Broadcast, unit: Any) -> None:
    whole = json.loads(interval_mmif(short, labels=[]))
    whole["documents"][0]["properties"]["fps"] = 25
    whole["views"][0]["metadata"]["contains"] |= {str(AnnotationTypes.TimePoint): {"timeUnit": unit, "document": "d1"}}
    times = {"tp_1": 1.0, "tp_2": 5.0, "tp_3": 3.0}
    whole["views"][0]["metadata"]["contains"][str(AnnotationTypes.TimeFrame)] = {"document": "d1"}
    whole["views"][0]["annotations"] = [
        _annotation(AnnotationTypes.TimePoint, id=id_, timePoint=time if unit == "seconds" else int(time * 25))
        for id_, time in times.items()
    ] + [
        _annotation(AnnotationTypes.TimeFrame, id="tf_1", targets=list(times)),
        _annotation(AnnotationTypes.TimeFrame, id="tf_2", targets=["tf_1"]),
        _annotation(AnnotationTypes.TimeFrame, id="tf_3", targets=[]),
    ]
    made = planned(Mmif(whole), tfSamplingMode="single")
    assert points(made) == [[(3000, None)], [(3000, None)]]
    assert [task.span for task in made.tasks] == [(1000, 5000)] * 2
    ((_, text),) = said(made)
    assert text.startswith("TimeFrame v_0:tf_3 was not captioned: it has neither representatives nor start and end")


def _annotation(at_type: Any, **properties: Any) -> dict[str, Any]:
    return {"@type": str(at_type), "properties": properties}


@pytest.mark.parametrize(
    ("odd", "cause"),
    [
        ({"start": 0, "end": math.inf}, "inf is no time in milliseconds that a video could have"),
        ({"start": 0, "end": 1e300, "timeUnit": "seconds"}, "1e+300 is no time in seconds that a video could have"),
        ({"start": "a", "end": 5, "timeUnit": "seconds"}, "a is no time in seconds"),
        ({"start": 0, "end": math.nan}, "nan is no time"),
        ({"start": 0, "end": 5, "timeUnit": "fortnights"}, "Not supported time unit: fortnights"),
        ({"start": 0, "end": 2**39}, "it has 16476181743 frames; 2000000 are the most. Shorten it"),
    ],
)
def test_an_odd_timeframe_costs_itself_alone(short: Broadcast, odd: dict[str, Any], cause: str) -> None:
    whole = json.loads(interval_mmif(short, labels=["slate"]))
    whole["views"][0]["annotations"].append(_annotation(AnnotationTypes.TimeFrame, id="tf_9", document="d1"))
    whole["views"][0]["annotations"][-1]["properties"] |= odd
    made = planned(Mmif(whole), tfSamplingMode="all")
    assert [task.time_frame for task in made.tasks] == ["v_0:tf_1"]
    ((_, text),) = said(made)
    assert text.startswith(f"TimeFrame v_0:tf_9 was not captioned: {cause}")


@pytest.mark.parametrize("rate", [0, -25, "fast", 1e999])
def test_a_video_of_no_rate_costs_those_who_need_it(short: Broadcast, rate: Any) -> None:
    whole = json.loads(interval_mmif(short, labels=["slate"]))
    whole["documents"][0]["properties"]["fps"] = rate
    whole["views"][0]["annotations"].append(
        _annotation(AnnotationTypes.TimeFrame, id="tf_9", document="d1", start=9, end=12, timeUnit="frames")
    )
    made = planned(Mmif(whole), tfSamplingMode="single")
    assert [task.time_frame for task in made.tasks] == ["v_0:tf_1"]
    ((_, text),) = said(made)
    assert text.startswith("TimeFrame v_0:tf_9 was not captioned: the input, or the file, tells no frame rate of d1")


def test_a_label_that_is_no_text_is_none_of_those_asked_for(short: Broadcast) -> None:
    mmif = Mmif(swt_mmif(short))
    mmif["v_1:tf_2"].add_property("label", ["slate"])
    made = planned(mmif, tfLabels=["bars", "slate"])
    assert [task.time_frame for task in made.tasks] == ["v_1:tf_1"]
    assert said(made) == [
        (
            Cause.UNUSABLE_TIME_FRAME,
            "TimeFrame v_1:tf_2 was not captioned: its label is no text, as tfLabels are.",
        )
    ]
    assert len(planned(mmif).tasks) == 3


def test_ids_with_another_colon(short: Broadcast) -> None:
    whole = json.loads(swt_mmif(short, representatives=1).replace("v_1:tf_", "v_1:tf:").replace("v_0:tp_", "v_0:tp:"))
    made = planned(Mmif(whole), tfSamplingMode="all", tfLabels=["slate"])
    assert points(made) == [[(2500, "v_0:tp:3"), (3500, "v_0:tp:4")]]
    assert [task.time_frame for task in made.tasks] == ["v_1:tf:2"]


def test_the_rate_that_an_earlier_app_recorded_counts(short: Broadcast, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(interval_mmif(short, labels=["slate"]))
    whole["views"][0]["annotations"][0]["properties"] |= {"timeUnit": "frames", "start": 30, "end": 31}
    earlier = Mmif(whole)
    assert [task.instants[0].ms for task in planned(earlier, tfSamplingMode="single").tasks] == [(1001 + 1034) // 2]
    view = json.loads(earlier.serialize())["views"][0] | {"id": "v_9"}
    view["metadata"]["contains"] = {str(AnnotationTypes.Annotation): {}}
    view["annotations"] = [_annotation(AnnotationTypes.Annotation, id="a_1", document="d1", fps=25)]
    whole["views"].append(view)
    assert [task.instants[0].ms for task in planned(Mmif(whole), tfSamplingMode="single").tasks] == [(1200 + 1240) // 2]


def test_the_rate_of_a_video_is_looked_up_once(short: Broadcast, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def rate(document: Any, path: Any) -> float:
        asked.append(document.id)
        return 30.0

    monkeypatch.setattr("captioning.plan.rate_of", rate)
    assert len(planned(interval_mmif(short, unit="frames"), tfSamplingMode="all").tasks) == 3
    assert asked == ["d1"]


def test_a_playlist_is_not_asked_for_its_rate_either(short: Broadcast, tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{short.path}\n#EXT-X-ENDLIST\n")
    mmif = Mmif(interval_mmif(short, unit="frames", labels=["slate"]))
    mmif["d1"].location = f"file://{playlist}"
    made = planned(mmif, tfSamplingMode="single")
    ((cause, text),) = said(made)
    assert (made.tasks, cause) == ([], Cause.UNREADABLE_VIDEO)
    assert "it is a playlist" in text


def test_a_deadline_in_the_middle_of_planning(short: Broadcast, tmp_path: Path) -> None:
    running = RunningCall(seconds=3600)
    mmif = Mmif(swt_mmif(short))
    mmif["d1"].location = "memory://tapes/a.mp4"

    def fetch(url: Url) -> Path:
        if running.reason is None:
            running.cancel(Reason.DEADLINE)
            return short.path
        raise AssertionError("asked for a video after the deadline")

    made = plan(mmif, parameters(), ANYWHERE, fetch, running)
    assert [task.time_frame for task in made.tasks] == ["v_1:tf_1"]
    text = "2 TimeFrames were not captioned (v_1:tf_2, v_1:tf_3): the call's time of 3600 s was over"
    ((cause, told),) = said(made)
    assert (cause, made.failures) == (Cause.DEADLINE, 2)
    assert told.startswith(text)


def test_a_call_that_nobody_waits_for_is_not_planned(short: Broadcast) -> None:
    running = RunningCall()
    running.cancel(Reason.CLIENT_GONE)
    with pytest.raises(CallCancelled):
        plan(Mmif(swt_mmif(short)), parameters(), running=running)


def test_a_recorded_rate_does_for_a_video_that_is_not_here(short: Broadcast) -> None:
    whole = json.loads(interval_mmif(short, unit="frames", labels=["slate"]))
    whole["documents"][0]["properties"] |= {"fps": 29.97, "location": "memory://tapes/a.mp4"}
    made = plan(Mmif(whole), parameters(tfSamplingMode="all"), fetch=lambda url: Path(url.name))
    assert [len(task.instants) for task in made.tasks] == [60]


def test_the_input_documents_gain_nothing(short: Broadcast) -> None:
    mmif = Mmif(interval_mmif(short))
    before = mmif.serialize()
    assert len(planned(mmif, tfSamplingMode="all").tasks) == 3
    assert mmif.serialize() == before


def test_a_mmif_without_video_is_refused() -> None:
    empty = Mmif(validate=False)
    with pytest.raises(ValueError, match="no VideoDocument"):
        planned(empty)


def test_a_mmif_without_timeframes_is_told(short: Broadcast) -> None:
    made = planned(interval_mmif(short, labels=[]))
    assert made.tasks == []
    assert said(made) == [(Cause.NOTHING_SELECTED, "The input has no TimeFrame; run an app that finds segments first.")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parallelPrompts": 0}, '"parallelPrompts" must be an integer of at least 1; got 0'),
        ({"maxImagesPerPrompt": -1}, '"maxImagesPerPrompt" must be an integer of at least 0; got -1'),
        ({"prompt": []}, '"prompt" must be one or more texts; got none'),
        ({"topP": 2.0}, '"topP" must be .*; got 2.0'),
        ({"frameFormat": "film"}, '"frameFormat" must be one of .*; got .film'),
        (
            {"frameFormat": "video", "longestEdge": 384},
            '"longestEdge" must be 0 where "frameFormat" is video.*; got 384',
        ),
    ],
)
def test_wrong_parameters_are_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameters(**wrong)
