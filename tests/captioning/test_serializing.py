"""The text that is made of a MMIF is mmif-python's, but made without going through everything for every caption."""

from typing import Any

import pytest
from mmif import AnnotationTypes, DocumentTypes, Mmif, View

from app import SmolVLM2Captioner
from captioning.serializing import CaptionedMmif
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.captions import captions

APP = "http://apps.clams.ai/smolvlm2-captioner/v1"


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was looked for among all annotations of a view, by properties."""
    seen: list[dict[str, Any]] = []
    get_annotations = View.get_annotations

    def noted(self: View, at_type: Any = None, **properties: Any) -> Any:
        if properties:
            seen.append(properties)
        return get_annotations(self, at_type, **properties)

    monkeypatch.setattr(View, "get_annotations", noted)
    return seen


def with_captions(mmif: Mmif) -> Mmif:
    time_frame = next(frame for view in mmif.views for frame in view.get_annotations(AnnotationTypes.TimeFrame))
    view = mmif.new_view()
    view.metadata.app, view.metadata.timestamp = APP, "2026-01-01T00:00:00"
    for number in range(3):
        text = view.new_textdocument(text=f"caption {number}")
        text.properties["document"] = "m1"
        text.properties["number"] = number
        view.new_annotation(AnnotationTypes.Alignment, source=time_frame.id, target=text.id)
    return mmif


@pytest.mark.parametrize("pending", [False, True])
def test_it_says_what_mmif_python_says(broadcast: Broadcast, searches: list[dict[str, Any]], pending: bool) -> None:
    text = swt_mmif(broadcast)
    made = [with_captions(kind(text)) for kind in (Mmif, CaptionedMmif)]
    if pending:
        for mmif in made:
            (video,) = mmif.get_documents_by_type(DocumentTypes.VideoDocument)
            video.add_property("archivist", "A. N. Other")
            caption = next(text for view in mmif.views for text in view.get_annotations(DocumentTypes.TextDocument))
            caption.add_property("seen", True)
    theirs = made[0].serialize(sanitize=True)
    searched = len(searches)
    assert searched
    assert made[1].serialize(sanitize=True) == theirs
    assert (len(searches) > searched) is pending
    assert ('"archivist": "A. N. Other"' in theirs, '"seen": true' in theirs) == (pending, pending)
    assert all(f'"number": {number}' in theirs for number in range(3))


def test_no_caption_of_a_call_is_looked_for(
    captioner: SmolVLM2Captioner, broadcast: Broadcast, searches: list[dict[str, Any]]
) -> None:
    answer = captioner.annotate(swt_mmif(broadcast, labels=["slate"]))
    assert len(captions(answer)) > 0
    assert {search["document"] for search in searches} <= {"d1"}  # the video
