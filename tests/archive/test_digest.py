"""What identifies a plan, in this release and the next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import archive.digest
from app import SmolVLM2Captioner, get_app
from archive.digest import FIRST_DEFAULTS, NOT_DIGESTED, digest, former_digests
from archive.ledger import Ledger
from archive.plan import Given, Pass, single_pass
from archive.records import Result

FIRST = {
    "tfLabels": [],
    "prompt": [
        "You are looking at one or more frames sampled from a single segment of a news video. Describe what is shown, "
        "the purpose of this segment in the broader news video, and transcribe any visible text. "
        "Produce one consolidated caption across all provided frames."
    ],
    "systemPrompt": "",
    "promptMode": "turn-taking",
    "maxNewTokens": 200,
    "useReasoning": False,
    "temperature": 0,
    "topP": 1,
    "topK": 50,
    "maxImagesPerPrompt": 0,
    "imagesPerPromptMode": "max",
    "longestEdge": 0,
    "contextOverflow": "shrink",
    "frameFormat": "images",
    "seed": -1,
    "outputSchema": "",
    "outputChoices": [],
    "captionConfidence": False,
    "repetitionPenalty": 1,
    "repetitionGuard": False,
    "tfSamplingMode": "representatives",
}


@pytest.fixture(scope="module")
def unstarted() -> SmolVLM2Captioner:
    return get_app()


@pytest.fixture
def refine(unstarted: SmolVLM2Captioner) -> Any:
    return lambda given: unstarted._refine_params(**given)


@pytest.fixture
def usual(refine: Any) -> dict[str, Any]:
    return dict(refine({}))


def asking(refined: Mapping[str, Any]) -> list[Pass]:
    return [Pass("captions", {}, refined)]


def test_digests_tell_what_captions_depend_on(refine: Any, usual: dict[str, Any]) -> None:
    def made(model: str = "demo@1", **options: list[str]) -> str:
        return digest(single_pass(options, refine), usual, model)

    assert made() == made(maxNewTokens=["200"]) == made(parallelPrompts=["8"]) == made(pretty=["true"])
    different = [made(), made(model="demo@2"), made(maxNewTokens=["201"]), made(tfLabels=["slate"])]
    assert len(set(different)) == 4


def test_a_parameter_that_is_new_changes_no_digest_unless_it_is_used(usual: dict[str, Any]) -> None:
    before = digest(asking(usual), usual, "demo@1")
    later = usual | {"novelty": 0}
    assert digest(asking(later), later, "demo@1") == before
    assert digest(asking(later | {"novelty": 1}), later, "demo@1") != before


def test_a_default_that_changes_changes_the_digests_of_those_who_relied_on_it(
    usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(asking(usual), usual, "demo@1")
    explicit = digest(asking(usual | {"maxNewTokens": 300}), usual, "demo@1")
    monkeypatch.setattr(archive.digest, "FIRST_DEFAULTS", {"maxNewTokens": 200})
    later = usual | {"maxNewTokens": 300}
    assert digest(asking(later), later, "demo@2") != before
    assert digest(asking(later), later, "demo@1") == explicit
    assert digest(asking(later | {"maxNewTokens": 200}), later, "demo@1") == before


def test_every_default_is_the_one_that_its_parameter_came_with(usual: dict[str, Any]) -> None:
    """A parameter that is new has to be added here; of one whose default changes, the first goes into the code."""
    now = {k: v for k, v in usual.items() if k not in NOT_DIGESTED and not k.startswith("#")} | FIRST_DEFAULTS
    assert now == FIRST


def test_a_digest_is_the_same_for_ever(usual: dict[str, Any]) -> None:
    made = digest(asking(usual | {"maxNewTokens": 80, "tfLabels": ["slate"]}), usual, "demo@1")
    assert made == "2:ee1f97ab40b6a158e649e327570bea7fb871fe64c34989692ecae5664e747b3f"


def test_digests_of_the_form_before_are_known_by_the_runs_that_they_are_of(
    tmp_path: Path, refine: Any, usual: dict[str, Any]
) -> None:
    plans: list[Given] = [{"maxNewTokens": ["80"]}, {}, {"topP": ["many"]}, {"tfLabels": ["slate"]}]
    with Ledger(tmp_path) as ledger:
        for number, given in enumerate(plans):
            run = ledger.begin_run([], [{"name": "captions", "parameters": given}], "demo@1")
            for path in (f"{number}.mmif", f"{number}b.mmif"):
                ledger.register(run, [(path, Path("in"))])
                ledger.begin(path)
                ledger.finish(Result(path, f"{number}" * 64, 0.1, None))
        ledger._execute("UPDATE files SET parameters_digest = 'odd' WHERE path = '1b.mmif'", ())
        ledger._execute("UPDATE files SET parameters_digest = '2:today' WHERE path = '0b.mmif'", ())
    # Of two in one run nobody knows which is the plan's, and one plan can't be used any more.
    expected = {f"{n}" * 64: digest(single_pass(plans[n], refine), usual, "demo@1") for n in (0, 3)}
    with Ledger(tmp_path, read_only=True) as ledger:
        assert former_digests(ledger, usual, refine) == expected
