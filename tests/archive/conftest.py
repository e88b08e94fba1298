"""The backfill on the session's engine, and real output MMIFs for all tests of reports."""

import json
from pathlib import Path
from typing import Any

import pytest

import app
import backfill
from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from demo.cards import KINDS
from tests.archive.archives import PLAN, Run

PASSES = {
    "slates": {"tfLabels": ["slate"], "maxNewTokens": ["6"]},  # cut: a phrase of the demo model has seven tokens
    "signs": {"tfLabels": ["chyron", "credits"]},
    "scene": {"prompt": ["What is to be seen here?"]},
}
SURE = {
    "kinds": {"outputChoices": list(KINDS), "captionConfidence": ["true"]},
    "scene": {"captionConfidence": ["true"]},
    "slates": {"tfLabels": ["slate"]},
}
SILENT = "v_1:tf_3"  # the TimeFrame that has no representatives, and therefore no caption


@pytest.fixture
def start(captioner: SmolVLM2Captioner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command on the session's engine, which is left running."""
    monkeypatch.setattr(app, "get_app", lambda: captioner)
    monkeypatch.setattr(captioner.engine, "close", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return lambda *arguments: backfill.main(["in", "out", "--plan", "plan.yaml", "--parallel", "6", *arguments])


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
    path = tmp_path_factory.mktemp("three") / "three.mmif"
    path.write_text(_in_passes(captioner, mmif, PASSES))
    return path


@pytest.fixture(scope="session")
def sure(captioner: SmolVLM2Captioner, broadcast: Broadcast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MMIF whose passes tell how sure the model was: of a choice, of a caption, and not at all."""
    path = tmp_path_factory.mktemp("sure") / "sure.mmif"
    path.write_text(_in_passes(captioner, json.loads(swt_mmif(broadcast)), SURE))
    return path


def _in_passes(captioner: SmolVLM2Captioner, mmif: Any, passes: dict[str, dict[str, list[str]]]) -> str:
    for name, parameters in passes.items():
        known = len(mmif["views"])
        mmif = json.loads(captioner.annotate(json.dumps(mmif), parallelPrompts=["8"], **parameters))
        for view in mmif["views"][known:]:
            view["metadata"]["pass"] = name
    return json.dumps(mmif)
