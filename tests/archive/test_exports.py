"""Captions in the hands of other programs."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmif import DocumentTypes

from archive.__main__ import main
from archive.exports import _line, export
from archive.reading import read_sheet
from archive.sheet import Sheet
from tests.captions import caption_views


@pytest.fixture
def outputs(three_passes: Path, one_pass: Path, tmp_path: Path) -> Path:
    """A folder with an output of three passes, one of one, and one that is broken."""
    folder = tmp_path / "outputs"
    (folder / "news").mkdir(parents=True)
    shutil.copy(three_passes, folder / "news" / "three.mmif")
    shutil.copy(one_pass, folder / "one.mmif")
    (folder / "broken.mmif").write_text("{")
    return folder


def said(path: Path) -> list[tuple[str, str, str]]:
    """Pass, TimeFrame and text of each caption."""
    return [(c.pass_name, row.time_frame, c.text) for row in read_sheet(path).rows for c in row.captions]


def set_texts(path: Path, text: Callable[[int], str]) -> None:
    """Give the captions of an output other texts."""
    mmif = json.loads(path.read_text())
    found = [a["properties"] for view in mmif["views"] for a in view["annotations"] if "text" in a["properties"]]
    for number, properties in enumerate(found):
        properties["text"]["@value"] = text(number)
    path.write_text(json.dumps(mmif))


def cues(track: Path) -> list[tuple[str, str, str]]:
    """Identifier, times and text of each cue of a WebVTT file, whose form is checked on the way."""
    content = track.read_text()
    assert content.startswith("WEBVTT\n\n")
    blocks = [block.split("\n") for block in content.rstrip("\n").split("\n\n")[1:]]
    found = []
    for block in blocks:
        if block[0] == "NOTE":
            assert not any("-->" in line for line in block)
            continue
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}", block[1])
        begin, end = block[1].split(" --> ")
        assert begin < end
        assert "-->" not in block[0] + "".join(block[2:])
        found.append((block[0], block[1], "\n".join(block[2:])))
    return found


@pytest.mark.parametrize("stem", ["x" * 250, "ä" * 124, "x" * 249 + "y"])
def test_tracks_of_files_with_long_names(three_passes: Path, tmp_path: Path, stem: str) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    shutil.copy(three_passes, outputs / f"{stem}.mmif")
    made = export(outputs, tmp_path / "out", ["vtt"])
    assert len({file.name for file in made.files}) == 3
    assert all(cues(file) for file in made.files)
    assert all(file.name.startswith(stem[:90]) and file.suffix == ".vtt" for file in made.files)
    assert set((tmp_path / "out" / "vtt").iterdir()) == set(made.files)


@pytest.mark.parametrize("text", ["a --> b", "a ---> b", "a -----> b", "a --> --> b"])
def test_what_is_said_of_a_cue_is_no_time(text: str) -> None:
    assert "-->" not in _line(text)
    assert _line(text).startswith("a -> ")


def test_json_lines_have_all_of_every_caption(outputs: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    made = export(outputs, tmp_path / "out", ["jsonl"], progress=lambda done, total: steps.append((done, total)))
    assert made.files == (tmp_path / "out" / "captions.jsonl",)
    assert [path for path, _ in made.broken] == ["broken.mmif"]
    assert "This is not JSON" in made.broken[0][1]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    lines: list[dict[str, Any]] = [json.loads(line) for line in made.files[0].read_text().split("\n")[:-1]]
    assert [(line["pass"], line["time_frame"], line["caption"]) for line in lines] == [
        *said(outputs / "news" / "three.mmif"),
        *said(outputs / "one.mmif"),
    ]
    assert len(lines) == made.captions
    sheet: Sheet = read_sheet(outputs / "news" / "three.mmif")
    row = next(row for row in sheet.rows if any(caption.marks for caption in row.captions))
    line = next(line for line in lines if line["finish_reason"] == "length")
    assert line == {
        "file": "news/three.mmif",
        "video": sheet.videos[0].location,
        "pass": "slates",
        "time_frame": row.time_frame,
        "label": "slate",
        "start_ms": row.span[0],  # type: ignore[index]
        "end_ms": row.span[1],  # type: ignore[index]
        "start": line["start"],
        "end": line["end"],
        "frames_ms": list(row.times),
        "caption": row.captions[0].text,
        "finish_reason": "length",
        "mime": "",
        "confidence": None,
        "lowest_token_probability": None,
        "choice_probabilities": {},
        "any_choice_probability": None,
        "marks": {},
        "warnings": [],
        "model": sheet.passes[0].model,
        "prompt": list(sheet.passes[0].prompt),
        "text_document": row.captions[0].id,
    }
    assert {line["finish_reason"] for line in lines} == {"length", "stop"}


def test_how_sure_the_model_was_stands_in_fields_of_its_own(sure: Path, tmp_path: Path) -> None:
    export(sure, tmp_path / "out", ["csv", "jsonl"])
    lines = [json.loads(line) for line in (tmp_path / "out" / "captions.jsonl").read_text().splitlines()]
    with (tmp_path / "out" / "captions.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    said = {
        text.long_id: text
        for view in caption_views(sure.read_text())
        for text in view.get_annotations(DocumentTypes.TextDocument)
    }
    assert len(lines) == len(rows) > 10
    for line, row in zip(lines, rows, strict=True):
        assert line["marks"] == {}
        numbers = [line["confidence"], line["lowest_token_probability"], line["any_choice_probability"]]
        names = ["confidence", "lowestTokenProbability", "anyChoiceProbability"]
        text = said[line["text_document"]]
        assert numbers == [text.get_property(name) for name in names]
        assert line["choice_probabilities"] == (text.get_property("choiceProbabilities") or {})
        cells = [row["confidence"], row["lowest_token_probability"], row["any_choice_probability"]]
        assert cells == ["" if number is None else str(number) for number in numbers]
        assert json.loads(row["choice_probabilities"] or "{}") == line["choice_probabilities"]
    told = {line["pass"]: (line["confidence"], len(line["choice_probabilities"])) for line in lines}
    assert 0 < told["kinds"][0] <= 1
    assert 0 < told["scene"][0] <= 1
    assert {name: count for name, (_, count) in told.items()} == {"kinds": 5, "scene": 0, "slates": 0}
    assert told["slates"][0] is None


def test_csv_is_read_back_as_it_was_and_runs_no_formula(outputs: Path, tmp_path: Path) -> None:
    odd = ['=HYPERLINK("http://x","y")', "+1", "-2+3", "@SUM(A1)", "\tx", 'a, "b"\nc', "Zürich", "plain"]
    set_texts(outputs / "one.mmif", lambda number: odd[number % len(odd)])
    export(outputs, tmp_path / "out", ["csv"])
    content = (tmp_path / "out" / "captions.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    with (tmp_path / "out" / "captions.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["pass"], row["time_frame"], row["caption"]) for row in rows if row["file"] == "one.mmif"]
    safe = [(name, id_, f"'{text}" if text[0] in "=+-@\t" else text) for name, id_, text in said(outputs / "one.mmif")]
    assert found == safe
    assert {text for _, _, text in found} == {"'" + text for text in odd[:5]} | set(odd[5:])
    assert {row["file"] for row in rows} == {"one.mmif", "news/three.mmif"}
    assert json.loads(rows[0]["frames_ms"]) == list(next(r for r in read_sheet(outputs / "news/three.mmif").rows).times)


def test_webvtt_has_a_track_for_each_pass(outputs: Path, tmp_path: Path) -> None:
    made = export(outputs, tmp_path / "out", ["vtt"])
    folder = tmp_path / "out" / "vtt"
    assert sorted(file.relative_to(folder).as_posix() for file in made.files) == [
        "news/three.scene.vtt",
        "news/three.signs.vtt",
        "news/three.slates.vtt",
        "one.vtt",
    ]
    captions = said(outputs / "news" / "three.mmif")
    spans = {row.time_frame: row.span for row in read_sheet(outputs / "news" / "three.mmif").rows}
    for name in ("slates", "signs", "scene"):
        track = cues(folder / "news" / f"three.{name}.vtt")
        assert [(id_, text) for id_, _, text in track] == [(id_, text) for of, id_, text in captions if of == name]
        for id_, times, _ in track:
            begin = [round(float(part) * 1000) if "." in part else int(part) for part in times.split(" ")[0].split(":")]
            assert (begin[0] * 60 + begin[1]) * 60_000 + begin[2] == spans[id_][0]  # type: ignore[index]


def test_webvtt_stays_valid_whatever_a_caption_says(outputs: Path, tmp_path: Path) -> None:
    set_texts(outputs / "one.mmif", lambda number: "a <b>\n\n00:01 --> 00:02 & \0\r\n\r\nNOTE" if number else " \n ")
    export(outputs / "one.mmif", tmp_path / "out", ["vtt"])
    track = cues(tmp_path / "out" / "vtt" / "one.vtt")
    assert len(track) == len(said(outputs / "one.mmif")) - 1
    assert {text for _, _, text in track} == {"a &lt;b&gt;\n00:01 --&gt; 00:02 &amp; \ufffd\nNOTE"}


def test_each_video_has_its_own_track(outputs: Path, tmp_path: Path) -> None:
    path = outputs / "one.mmif"
    mmif = json.loads(path.read_text())
    mmif["documents"].append(json.loads(json.dumps(mmif["documents"][0])))
    mmif["documents"][1]["properties"]["id"] = "d2"
    texts = [a["properties"] for a in mmif["views"][-1]["annotations"] if "text" in a["properties"]]
    texts[0]["document"] = "d2"
    path.write_text(json.dumps(mmif))
    export(path, tmp_path / "out", ["vtt"])
    assert [len(cues(tmp_path / "out" / "vtt" / f"one.{id_}.vtt")) for id_ in ("d1", "d2")] == [len(texts) - 1, 1]


def test_an_export_that_fails_leaves_the_one_before(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(outputs, tmp_path / "out", ["csv", "jsonl"])
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(outputs, tmp_path / "out", ["csv", "jsonl"], progress=stop)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_what_cannot_be_exported_is_said(outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no export format xml; there are csv, jsonl, vtt"):
        export(outputs, tmp_path / "out", ["csv", "xml"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outputs), str(tmp_path / "report"), "--no-pictures"]) == 1
    assert "broken.mmif: This is not JSON" in capsys.readouterr().err
    assert (tmp_path / "report" / "index.html").is_file()
    (outputs / "broken.mmif").unlink()
    assert main([str(outputs), str(tmp_path / "report"), "--no-pictures"]) == 0
    assert main([str(outputs), str(tmp_path / "exports"), "--export", "csv", "vtt"]) == 0
    assert sorted(file.name for file in (tmp_path / "exports").iterdir()) == ["captions.csv", "vtt"]
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "other")]) == 1
    assert "nowhere" in capsys.readouterr().err
