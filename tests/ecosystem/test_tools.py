"""The app's output in the hands of the tools that its users have: the SDK's, mmif's, and a reader of captions."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mmif import AnnotationTypes, DocumentTypes, Mmif

from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.captions import APP, Read, caption_views, captions
from tests.ecosystem.apps import CaptionReader, Segmenter

BIN = Path(sys.executable).parent
# By this name, without a version, mmif-python 1.5.4 looks for captions when it summarises.
NAME_IN_SUMMARIES = APP.rstrip("/")


@pytest.fixture(scope="module")
def captioned(captioner: SmolVLM2Captioner, broadcast: Broadcast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the output for the slates and chyrons of an output of swt-detection."""
    file = tmp_path_factory.mktemp("captioned") / "captioned.mmif"
    given = swt_mmif(broadcast)
    file.write_text(captioner.annotate(given, tfLabels=["slate", "chyron"], parallelPrompts=["4"], pretty=["true"]))
    return file


@pytest.fixture(scope="module")
def found(captioned: Path) -> list[Read]:
    return captions(captioned.read_text())


def tool(*command: str | Path) -> str:
    """What a tool of this environment prints."""
    done = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(*command: str | Path) -> Any:
    return json.loads(tool(*command))


def test_it_is_valid_to_the_last_reference(captioned: Path, found: list[Read], broadcast: Broadcast) -> None:
    Mmif.validate(captioned.read_text())
    whole = Mmif(captioned.read_text())
    (view,) = caption_views(whole)
    assert {annotation.at_type for annotation in view.annotations} == set(view.metadata.contains)
    for text in view.get_annotations(DocumentTypes.TextDocument):
        (frame,) = [aligned for aligned in text.get_all_aligned() if aligned.at_type == AnnotationTypes.TimeFrame]
        assert frame.get_property("label") in ("slate", "chyron")
        assert whole[text.get_property("document")].at_type == DocumentTypes.VideoDocument
        points = [whole[origin] for origin in text.get_property("origins")]
        assert {point.at_type for point in points} == {AnnotationTypes.TimePoint}
        times = [point.get_property("timePoint") for point in points]
        assert text.text_value == broadcast.expected_caption(times)
    assert found


def test_mmif_describe(captioned: Path, found: list[Read]) -> None:
    described = told("mmif", "describe", captioned)
    (step,) = [app for app in described["apps"] if app["app"].startswith(APP)]
    assert step["appConfiguration"]["tfLabels"] == ["slate", "chyron"]
    texts = [count for at_type, count in step["annotationCountByType"].items() if "TextDocument" in at_type]
    assert texts == [len(found)]


def test_mmif_summarize(captioned: Path, found: list[Read]) -> None:
    summary = told("mmif", "summarize", captioned)
    (view,) = [view for view in summary["views"] if view["app"].startswith(APP)]
    assert view["annotation_types"]["TextDocument"] == len(found)


def named_as_summaries_expect(captioned: Path, folder: Path) -> Path:
    """The output as it would be if the app had no version, which is when mmif's summary looks at its captions."""
    whole = json.loads(captioned.read_text())
    for view in whole["views"]:
        if view["metadata"]["app"].startswith(APP):
            view["metadata"]["app"] = NAME_IN_SUMMARIES
    file = folder / "unversioned.mmif"
    file.write_text(json.dumps(whole))
    return file


def test_captions_in_a_summary(captioned: Path, found: list[Read], tmp_path: Path) -> None:
    summary = told("mmif", "summarize", named_as_summaries_expect(captioned, tmp_path))
    assert [caption["text"] for caption in summary["captions"]] == [caption.text for caption in found]
    for listed, caption in zip(summary["captions"], found, strict=True):
        assert listed["time-point"] in caption.times


def test_the_inspectors_page_of_captions(captioned: Path, found: list[Read], tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    summary.write_text(tool("mmif", "summarize", named_as_summaries_expect(captioned, tmp_path)))
    tool("inspect", "-i", summary, "-o", tmp_path / "pages")
    page = (tmp_path / "pages" / "captions.html").read_text()
    assert all(caption.text in page for caption in found)


def test_mmif_rewind_leaves_the_input(captioned: Path, broadcast: Broadcast) -> None:
    rewound = told("mmif", "rewind", "--mode", "app", "--number", "1", captioned)
    assert rewound["documents"] == json.loads(swt_mmif(broadcast))["documents"]
    assert [view["id"] for view in rewound["views"]] == [
        view["id"] for view in json.loads(swt_mmif(broadcast))["views"]
    ]


def test_clams_envelop(
    captioner: SmolVLM2Captioner, broadcast: Broadcast, tmp_path: Path, captioned: Path, found: list[Read]
) -> None:
    """Parameters in an envelope are the parameters of a query."""
    parameters, given = tmp_path / "parameters.json", tmp_path / "input.mmif"
    parameters.write_text(json.dumps({"tfLabels": ["slate", "chyron"], "parallelPrompts": 4}))
    given.write_text(swt_mmif(broadcast))
    assert captions(captioner.annotate(tool("clams", "envelop", parameters, given))) == found


def test_a_chain_of_apps(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> None:
    """``clams source``, an app that makes TimeFrames, this app, an app that reads its captions."""
    source = tool("clams", "source", f"video:{broadcast.path}")
    segments = [(s.kind, int(s.start * 1000), int(s.end * 1000)) for s in broadcast.segments]
    segmented = Segmenter(segments).annotate(source)
    captioned = captioner.annotate(segmented, tfSamplingMode=["single"], parallelPrompts=["8"])
    read = Mmif(CaptionReader().annotate(captioned))
    (view,) = [view for view in read.views if "/reader/" in view.metadata.app]
    texts = [text.text_value for text in view.get_annotations(DocumentTypes.TextDocument)]
    middles = [(start + end) // 2 for _, start, end in segments]
    expected = [
        f"{label}: {broadcast.expected_caption([middle])}"
        for (label, _, _), middle in zip(segments, middles, strict=True)
    ]
    assert texts == expected
    names = dict.fromkeys(view.metadata.app.split("/")[3] for view in read.views)
    assert list(names) == ["segmenter", "smolvlm2-captioner", "reader"]
