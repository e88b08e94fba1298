"""Captions as tests look at them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmif import AnnotationTypes, DocumentTypes, Mmif, View

from app import SmolVLM2Captioner

APP = "http://apps.clams.ai/smolvlm2-captioner/"
MARKS = (
    "mime",
    "finishReason",
    "longestEdge",
    "maxNewTokens",
    "confidence",
    "lowestTokenProbability",
    "choiceProbabilities",
    "anyChoiceProbability",
)


@dataclass(frozen=True)
class Read:
    """One caption, with all that hangs on it resolved."""

    text: str
    time_frame: str
    document: str
    origins: list[str]
    times: list[int]  # ms, of the origins


def caption_views(mmif: str | Mmif) -> list[View]:
    """The app's views that hold captions."""
    whole = mmif if isinstance(mmif, Mmif) else Mmif(mmif)
    own = [view for view in whole.views if view.metadata.app.startswith(APP)]
    return [view for view in own if next(view.get_annotations(DocumentTypes.TextDocument), None) is not None]


def captions(mmif: str) -> list[Read]:
    """The captions of the app's last view that holds some, in their order; the MMIF is validated on the way."""
    whole = Mmif(mmif)
    view = caption_views(whole)[-1]
    source_of = {
        a.get_property("target"): a.get_property("source") for a in view.get_annotations(AnnotationTypes.Alignment)
    }
    read = []
    for text in view.get_annotations(DocumentTypes.TextDocument):
        origins = text.get_property("origins")
        assert text.get_property("origination") == "derived"
        times = [whole[id_].get_property("timePoint") for id_ in origins]
        read.append(Read(text.text_value, source_of[text.id], text.get_property("document"), origins, times))
    assert len(source_of) == len(read)
    return read


def warnings(mmif: str) -> list[str]:
    """All warnings of the app's views."""
    views = [view for view in Mmif(mmif).views if view.metadata.app.startswith(APP)]
    return [str(warning) for view in views for warning in view.metadata.warnings]


def error(mmif: str) -> str:
    """The message of the error in the last view."""
    return str(json.loads(mmif)["views"][-1]["metadata"]["error"]["message"])


def marks(mmif: str) -> list[dict[str, Any]]:
    """What the captions' TextDocuments say of how they came about, in their order."""
    # By the SDK: what all annotations of a view share, it writes once, into the view's metadata.
    (view,) = caption_views(mmif)
    texts = view.get_annotations(DocumentTypes.TextDocument)
    return [{name: value for name in MARKS if (value := text.get_property(name)) not in (None, "")} for text in texts]


def without_times(mmif: str) -> Any:
    """The MMIF as an object, without what differs from run to run and without the parameters."""
    whole = json.loads(mmif)
    for view in whole["views"]:
        for name in ("timestamp", "appProfiling", "parameters", "appConfiguration"):
            view["metadata"].pop(name, None)
    return whole


def pass_by_pass(captioner: SmolVLM2Captioner, mmif: str, asked: Mapping[str, dict[str, list[str]]]) -> Any:
    """What calling the app by hand for each pass gives, each new view marked with its pass; without times."""
    for name, parameters in asked.items():
        before = len(json.loads(mmif)["views"])
        whole = json.loads(captioner.annotate(mmif, **parameters))
        for view in whole["views"][before:]:
            view["metadata"]["pass"] = name
        mmif = json.dumps(whole)
    return without_times(mmif)
