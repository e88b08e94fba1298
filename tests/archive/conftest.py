"""Real output MMIFs for all tests of reports."""

import json
from pathlib import Path

import pytest

from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast

PASSES = {
    "slates": {"tfLabels": ["slate"], "maxNewTokens": ["6"]},  # cut: a phrase of the demo model has seven tokens
    "signs": {"tfLabels": ["chyron", "credits"]},
    "scene": {"prompt": ["What is to be seen here?"]},
}
SILENT = "v_1:tf_3"  # the TimeFrame that has no representatives, and therefore no caption


@pytest.fixture(scope="session")
def one_pass(captioner: SmolVLM2Captioner, broadcast: Broadcast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MMIF with a caption for each of its TimeFrames."""
    path = tmp_path_factory.mktemp("one") / "one.mmif"
    path.write_text(captioner.annotate(swt_mmif(broadcast), parallelPrompts=["8"]))
    return path


@pytest.fixture(scope="session")
def three_passes(captioner: SmolVLM2Captioner, broadcast: Broadcast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MMIF with three passes, named as a backfill names them: with cut captions, and warnings."""
    mmif = json.loads(swt_mmif(broadcast))
    (silent,) = (a for a in mmif["views"][1]["annotations"] if a["properties"]["id"] == SILENT)
    del silent["properties"]["representatives"]
    for name, parameters in PASSES.items():
        known = len(mmif["views"])
        mmif = json.loads(captioner.annotate(json.dumps(mmif), parallelPrompts=["8"], **parameters))
        for view in mmif["views"][known:]:
            view["metadata"]["pass"] = name
    path = tmp_path_factory.mktemp("three") / "three.mmif"
    path.write_text(json.dumps(mmif))
    return path
