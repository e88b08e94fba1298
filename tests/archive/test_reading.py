"""What is read of an output MMIF, against what mmif-python reads."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmif import AnnotationTypes, DocumentTypes, Mmif

from archive.reading import UnreadableError, pass_name, read_sheet
from archive.sheet import Remark, Row, Sheet
from demo.annotations import interval_mmif
from demo.broadcast import Broadcast
from demo.cards import KINDS
from tests.archive.conftest import SILENT
from tests.captions import APP, caption_views, captions, warnings

SWT = Path(__file__).parent.parent / "data" / "swt-1.0.mmif.gz"

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def edited(one_pass: Path, tmp_path: Path) -> Callable[[Edit], Sheet]:
    """Reads an output after something has been done to it."""

    def read(edit: Edit) -> Sheet:
        mmif = json.loads(one_pass.read_text())
        edit(mmif)
        path = tmp_path / "edited.mmif"
        path.write_text(json.dumps(mmif))
        return read_sheet(path)

    return read


def test_rows_are_the_captions_as_mmif_python_reads_them(one_pass: Path, broadcast: Broadcast) -> None:
    sheet = read_sheet(one_pass)
    found = captions(one_pass.read_text())
    assert [
        (row.time_frame, row.document, list(row.times), [caption.text for caption in row.captions])
        for row in sheet.rows
    ] == [(caption.time_frame, caption.document, caption.times, [caption.text]) for caption in found]
    assert [row.label for row in sheet.rows] == [segment.kind for segment in broadcast.segments]
    assert [row.captions[0].text for row in sheet.rows] == [broadcast.expected_caption(row.times) for row in sheet.rows]
    assert [(video.id, video.path()) for video in sheet.videos] == [("d1", broadcast.path)]
    assert sheet.passes[0].model.startswith("demo@")
    assert (sheet.remarks, sheet.errors) == ((), ())


def test_each_pass_stands_in_the_row_of_its_frames(three_passes: Path) -> None:
    sheet = read_sheet(three_passes)
    whole = Mmif(three_passes.read_text())
    expected: dict[str, list[tuple[str, str]]] = {}
    for view in caption_views(whole):
        sources = {
            a.get_property("target"): a.get_property("source") for a in view.get_annotations(AnnotationTypes.Alignment)
        }
        for text in view.get_annotations(DocumentTypes.TextDocument):
            name = json.loads(view.metadata.serialize())["pass"]
            expected.setdefault(sources[text.id], []).append((name, text.text_value))
    assert [made.name for made in sheet.passes] == ["slates", "signs", "scene"]
    assert {
        row.time_frame: [(caption.pass_name, caption.text) for caption in row.captions]
        for row in sheet.rows
        if row.captions
    } == expected
    assert {len(row.captions) for row in sheet.rows} == {0, 1, 2}
    assert [row.start for row in sheet.rows] == sorted(row.start for row in sheet.rows if row.start is not None)


def test_a_cut_caption_says_so(three_passes: Path) -> None:
    marks = {
        (caption.pass_name, *caption.marks.items()) for row in read_sheet(three_passes).rows for caption in row.captions
    }
    assert marks == {("slates", ("finishReason", "length")), ("signs",), ("scene",)}


def test_how_sure_the_model_was_is_read(sure: Path) -> None:
    captions = {caption.pass_name: caption for row in read_sheet(sure).rows for caption in row.captions}
    kind, scene, slate = (captions[name] for name in ("kinds", "scene", "slates"))
    assert kind.choices[kind.text] == kind.confidence == max(kind.choices.values())
    assert set(kind.choices) == set(KINDS)
    assert (scene.confidence, scene.choices) == (scene.marks["confidence"], {})
    assert (slate.confidence, slate.choices) == (None, {})


@pytest.mark.parametrize("value", ["0.5", True, -0.1, 1.1, float("nan"), None, [0.5]])
def test_what_is_no_probability_is_none(edited: Callable[[Edit], Sheet], value: Any) -> None:
    def edit(mmif: Any) -> None:
        for annotation in mmif["views"][-1]["annotations"]:
            if "text" in annotation["properties"]:
                annotation["properties"] |= {"confidence": value, "choiceProbabilities": {"a": value, "b": 0.5}}

    for row in edited(edit).rows:
        assert {(caption.confidence, *caption.choices.items()) for caption in row.captions} <= {(None, ("b", 0.5))}


def test_a_warning_stands_with_the_segment_that_it_names(three_passes: Path) -> None:
    sheet = read_sheet(three_passes)
    said = warnings(three_passes.read_text())
    assert len(sheet.remarks) == len(said)
    for remark, recorded in zip(sheet.remarks, said):
        assert remark.text in recorded
        assert "lineno" not in remark.text
    (silent,) = (row for row in sheet.rows if row.remarks)
    assert (silent.time_frame, silent.captions, silent.times) == (SILENT, (), ())
    assert [(remark.pass_name, SILENT in remark.text) for remark in silent.remarks] == [("scene", True)]


def test_one_warning_may_name_many_segments(edited: Callable[[Edit], Sheet]) -> None:
    text = "2 TimeFrames were not captioned (v_1:tf_1, v_1:tf_2): there is no file v_1, where tf_4 should be."

    def warn(mmif: dict[str, Any]) -> None:
        mmif["views"][-1]["metadata"]["warnings"] = [text, text, "The whole call was slow."]

    sheet = edited(warn)
    assert [remark.text for remark in sheet.remarks] == [text, "The whole call was slow."]
    assert {row.time_frame for row in sheet.rows if row.remarks} == {"v_1:tf_1", "v_1:tf_2"}
    assert all(len(row.remarks) <= 1 and len(row.captions) == 1 for row in sheet.rows)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "TimeFrame v_1:tf_3 was not captioned: there is no file /data/a 1.mp4, where d1 should be.",
            "TimeFrame v_2:tf_1 was not captioned: there is no file /tapes/b.mp4, where m12 should be.",
        ),
        (
            "3 TimeFrames were not captioned (v_1:tf_1, v_1:tf_2, v_1:tf_9): the engine is gone",
            "12 TimeFrames were not captioned (v_1:tf_4, v_1:tf_5): the engine is gone",
        ),
    ],
)
def test_warnings_of_one_cause_are_of_one_kind(one: str, other: str) -> None:
    assert Remark("a", one).kind == Remark("a", other).kind
    assert Remark("a", one).kind != Remark("a", one.replace("file", "tape").replace("engine", "model")).kind


def test_parts_of_a_segment_are_rows_of_their_own(edited: Callable[[Edit], Sheet]) -> None:
    def split(mmif: dict[str, Any]) -> None:
        texts = [a for a in mmif["views"][-1]["annotations"] if "origins" in a["properties"]]
        first, second = texts[0]["properties"], texts[1]["properties"]
        second["origins"] = [first["origins"].pop()]
        (alignment,) = (a for a in mmif["views"][-1]["annotations"] if a["properties"].get("target") == second["id"])
        alignment["properties"]["source"] = "v_1:tf_1"

    rows = [row for row in edited(split).rows if row.time_frame == "v_1:tf_1"]
    assert [row.anchor for row in rows] == ["tf-v_1:tf_1", "tf-v_1:tf_1-2"]
    assert [len(row.times) for row in rows] == [2, 1]
    assert rows[0].times[-1] < rows[1].times[0]


def test_segments_in_frames_are_put_into_milliseconds(
    edited: Callable[[Edit], Sheet], one_pass: Path, broadcast: Broadcast
) -> None:
    def in_frames(mmif: dict[str, Any]) -> None:
        (points,) = (
            shared
            for view in mmif["views"]
            for kind, shared in view["metadata"]["contains"].items()
            if "TimePoint" in kind
        )
        points["timeUnit"] = "frames"
        for annotation in mmif["views"][0]["annotations"]:
            annotation["properties"]["timePoint"] = round(annotation["properties"]["timePoint"] * broadcast.fps / 1000)

    frame_ms = 1000 / broadcast.fps
    for row, expected in zip(edited(in_frames).rows, read_sheet(one_pass).rows, strict=True):
        assert all(abs(ms - other) <= frame_ms for ms, other in zip(row.times, expected.times, strict=True))
        assert row.span is not None
        assert expected.span is not None
        assert abs(row.span[0] - expected.span[0]) <= frame_ms


def test_start_and_end_are_read_in_their_unit(broadcast: Broadcast, tmp_path: Path) -> None:
    spans = []
    for unit in ("milliseconds", "seconds", "frames"):
        path = tmp_path / f"{unit}.mmif"
        mmif = json.loads(interval_mmif(broadcast, unit=unit))
        mmif["views"][-1]["metadata"] |= {
            "app": APP + "v1",
            "warnings": [f"v_0:tf_{number} is odd." for number in range(1, len(broadcast.segments) + 1)],
        }
        path.write_text(json.dumps(mmif))
        spans.append([row.span for row in read_sheet(path).rows])
    exact = [(segment.start * 1000, segment.end * 1000) for segment in broadcast.segments]
    assert spans[0] == spans[1] == exact
    assert all(abs(a - b) <= 20 for row, other in zip(spans[2], exact) for a, b in zip(row or (), other, strict=True))


def test_times_that_nothing_tells_are_left_out(edited: Callable[[Edit], Sheet]) -> None:
    def lose(mmif: dict[str, Any]) -> None:
        mmif["documents"][0]["properties"]["location"] = "file:///gone.mp4"
        for shared in mmif["views"][0]["metadata"]["contains"].values():
            shared["timeUnit"] = "frames"

    sheet = edited(lose)
    assert len(sheet.rows) > 10
    assert all((row.times, row.span, row.start) == ((), None, None) for row in sheet.rows)
    assert all(row.captions[0].text for row in sheet.rows)


def test_several_videos_come_one_after_the_other(edited: Callable[[Edit], Sheet], one_pass: Path) -> None:
    def add(mmif: dict[str, Any]) -> None:
        mmif["documents"].insert(
            0,
            {
                "@type": "http://mmif.clams.ai/vocabulary/VideoDocument/v1",
                "properties": {"id": "d0", "mime": "video", "location": "file:///other.mp4"},
            },
        )
        texts = [a["properties"] for a in mmif["views"][-1]["annotations"] if "origins" in a["properties"]]
        texts[-1]["document"] = "d0"

    rows, before = edited(add).rows, read_sheet(one_pass).rows
    assert [row.document for row in rows] == ["d0"] + ["d1"] * (len(rows) - 1)
    assert [row.time_frame for row in rows] == [row.time_frame for row in (before[-1], *before[:-1])]


def test_a_failed_call_is_an_error_of_the_file(edited: Callable[[Edit], Sheet]) -> None:
    def fail(mmif: dict[str, Any]) -> None:
        mmif["views"][-1]["metadata"]["error"] = {"message": "EngineError: it is gone", "stackTrace": "..."}

    assert edited(fail).errors == ("EngineError: it is gone",)


def test_half_characters_become_whole_ones(edited: Callable[[Edit], Sheet]) -> None:
    def spoil(mmif: dict[str, Any]) -> None:
        texts = [a["properties"] for a in mmif["views"][-1]["annotations"] if "origins" in a["properties"]]
        texts[0]["text"]["@value"] = "broken \ud83d, whole \U0001f600"

    assert edited(spoil).rows[0].captions[0].text == "broken ?, whole \U0001f600"


def test_short_ids_of_older_files_are_understood() -> None:
    whole = json.loads(gzip.decompress(SWT.read_bytes()))
    time_frames = [a["properties"] for a in whole["views"][1]["annotations"] if "targets" in a["properties"]]
    mmif = Mmif(json.dumps(whole))
    assert ":" not in time_frames[0]["id"]
    whole["views"][2]["metadata"] |= {"app": APP + "v1", "warnings": [f"v_1:{t['id']} is odd." for t in time_frames]}
    path = Path(SWT.name.removesuffix(".gz"))
    sheet = _read(whole, path)
    assert len(sheet.rows) == len(time_frames)
    for row in sheet.rows:
        points = [mmif[target].get_property("timePoint") for target in mmif[row.time_frame].get_property("targets")]
        assert row.span == (min(points), max(points))
        assert (row.document, row.label) == ("m1", mmif[row.time_frame].get_property("label"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _read(mmif: dict[str, Any], path: Path) -> Sheet:
    path.write_text(json.dumps(mmif))
    return read_sheet(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "This is not JSON"),
        ('{"documents": [', "This is not JSON"),
        ("[" * 100_000, "This is not JSON"),
        ("\x00\x01\x02", "This is not JSON"),
        ("[1, 2]", "This is not MMIF"),
        ('{"documents": {}, "views": []}', "This is not MMIF"),
        ('{"documents": [], "views": [7]}', "This is not MMIF as the app writes it"),
        ('{"documents": [{}], "views": []}', "This is not MMIF as the app writes it"),
    ],
)
def test_what_is_no_mmif_is_refused_with_the_reason(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.mmif"
    path.write_text(content)
    with pytest.raises(UnreadableError, match=said):
        read_sheet(path)


def test_a_pass_without_a_name_is_named_after_what_it_asked() -> None:
    prompt = "Transcribe the caption exactly as written: the name first, then the role."
    assert pass_name({"pass": "people", "appConfiguration": {"prompt": [prompt]}}) == "people"
    assert pass_name({"appConfiguration": {"prompt": [prompt], "tfLabels": ["chyron", "credits"]}}) == (
        "chyron, credits: Transcribe the caption exactly as …"
    )
    assert pass_name({"appConfiguration": {"prompt": prompt, "tfLabels": []}}) == (
        "Transcribe the caption exactly as …"
    )
    assert pass_name({}) == "unnamed"


def test_prompts_that_begin_alike_are_two_passes(three_passes: Path, tmp_path: Path) -> None:
    mmif = json.loads(three_passes.read_text())
    begin = "Of all that can be asked of a segment this is what counts: "
    for view in mmif["views"]:
        if name := view["metadata"].pop("pass", ""):
            view["metadata"]["appConfiguration"] |= {"prompt": [begin + name], "tfLabels": []}
    sheet = _read(mmif, tmp_path / "alike.mmif")
    short = "Of all that can be asked of a segment …"
    assert [made.name for made in sheet.passes] == [short, f"{short} (2)", f"{short} (3)"]
    assert {caption.pass_name for row in sheet.rows for caption in _of("slate", row)} == {short, f"{short} (3)"}


def _of(label: str, row: Row) -> tuple[Any, ...]:
    return row.captions if row.label == label else ()
