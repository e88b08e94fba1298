"""Plans: what they mean, and what is said of those that can't be used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import SmolVLM2Captioner, get_app
from archive.plan import PRESETS, Given, Pass, PlanError, read_plan, single_pass
from captioning.parameters import Parameters


@pytest.fixture(scope="module")
def unstarted() -> SmolVLM2Captioner:
    return get_app()


@pytest.fixture
def read(unstarted: SmolVLM2Captioner, tmp_path: Path) -> Any:
    known = {parameter.name: parameter for parameter in unstarted.metadata.parameters}

    def read(text: str, **options: list[str]) -> tuple[Pass, ...]:
        path = tmp_path / "plan.yaml"
        path.write_text(text)
        return read_plan(path, options, known, checker(unstarted))

    return read


def checker(app: SmolVLM2Captioner) -> Any:
    def check(given: Given) -> Mapping[str, Any]:
        refined = app._refine_params(**given)
        Parameters.of(refined)
        return refined

    return check


def mistakes(read: Any, text: str, **options: list[str]) -> list[str]:
    """What is said of a plan: ``line: text``, for each mistake."""
    with pytest.raises(PlanError) as caught:
        read(text, **options)
    return [line.partition("plan.yaml:")[2] or line for line in str(caught.value).splitlines()]


def test_passes_in_order_with_their_parameters(read: Any) -> None:
    first, second = read("""
passes:
  - name: slates
    tfLabels: [slate, "0012"]
    prompt: Read it.
    temperature: 0.50
    useReasoning: yes
  - name: others
    tfLabels: []
    prompt: ['What?', A card., 'no']
    systemPrompt: ""
""")
    assert first.name == "slates"
    assert first.parameters == {
        "tfLabels": ["slate", "0012"],
        "prompt": ["Read it."],
        "temperature": ["0.50"],
        "useReasoning": ["true"],
    }
    assert first.refined["temperature"] == 0.5
    assert first.refined["maxNewTokens"] == 200
    assert second.name == "others"
    assert second.parameters == {"prompt": ["What?", "A card.", "no"], "systemPrompt": [""]}
    assert second.refined["tfLabels"] == []


def test_presets_by_name_as_they_are_and_changed(read: Any) -> None:
    slates, people = read("""
passes:
  - slate
  - name: people
    maxNewTokens: 60
    tfLabels: chyron_person
    preset: chyron
""")
    shipped = {name: yaml.safe_load((PRESETS / f"{name}.yaml").read_text()) for name in ("slate", "chyron")}
    assert slates.name == "slate"
    assert slates.parameters == {"tfLabels": ["slate"], "prompt": [shipped["slate"]["prompt"]]}
    assert people.name == "people"
    assert people.parameters == {
        "tfLabels": ["chyron_person"],
        "prompt": [shipped["chyron"]["prompt"]],
        "maxNewTokens": ["60"],
    }


def test_every_preset_that_ships_can_be_used(read: Any) -> None:
    names = [path.stem for path in PRESETS.glob("*.yaml")]
    assert {"slate", "chyron", "credits", "scene"} <= set(names)
    assert [made.name for made in read(f"passes: [{', '.join(names)}]")] == names


def test_options_hold_for_passes_that_say_nothing_else(read: Any) -> None:
    plan = "passes: [slate, {preset: scene, maxNewTokens: 60}]"
    first, second = read(plan, maxNewTokens=["30"], topK=["5"], tfLabels=["bars"])
    assert (first.refined["tfLabels"], second.refined["tfLabels"]) == (["slate"], [])
    assert (first.refined["maxNewTokens"], second.refined["maxNewTokens"]) == (30, 60)
    assert (first.refined["topK"], second.refined["topK"]) == (5, 5)


def test_what_passes_share_can_be_written_once(read: Any) -> None:
    first, second = read("""
passes:
  - &first
    name: one
    prompt: Read it.
    maxNewTokens: 60
  - <<: *first
    name: two
    maxNewTokens: 70
""")
    assert (first.name, first.refined["maxNewTokens"]) == ("one", 60)
    assert (second.name, second.refined["prompt"], second.refined["maxNewTokens"]) == ("two", ["Read it."], 70)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["1: the plan is empty; it needs a list of passes."]),
        ("passes:\n", ['1: "passes" must be a list with at least one pass.']),
        ("passes: []\n", ['1: "passes" must be a list with at least one pass.']),
        ("- slate\n", ["1: a plan must be a mapping, name: value."]),
        ("passes: [slate]\nruns: 3\n", ['2: a plan has "passes" and nothing else; got "runs".']),
        ("passes:\n - slate\n - [slate]\n", ["3: a pass must be a mapping, name: value."]),
        ("passes:\n - slates\n", ['2: there is no preset "slates"; did you mean "slate"?']),
        (
            "passes:\n - name: a\n   preset: q\n",
            ['3: there is no preset "q"; there are chyron, chyron-json, credits, '],
        ),
        ("passes:\n - prompt: What?\n", ['2: this pass has no name; add one, as in "name: slates".']),
        ("passes:\n - slate\n - scene\n - slate\n", ['4: another pass is called "slate", in line 2.']),
        ("passes:\n - name: a\n   promt: b\n", ['3: the app has no parameter "promt"; did you mean "prompt"?']),
        ("passes:\n - name: a\n   topP: 1\n   topP: 0\n", ['4: "topP" stands here twice, first in line 3.']),
        ("passes:\n - name: a\n   prompt:\n", ['3: the value of "prompt" is missing; write "" for an empty text.']),
        ("passes:\n - name: a\n   topK: [1, 2]\n", ['3: "topK" takes one value, not a list.']),
        ("passes:\n - name: a\n   prompt: {b: c}\n", ['3: the value of "prompt" must be a text or a number, not a ']),
        (
            "passes:\n - name: a\n   useReasoning: 3\n",
            ['3: the value of "useReasoning" must be true or false; got "3".'],
        ),
        ("passes:\n - name: a\n   pretty: true\n", ['3: "pretty" holds for a whole output; give it as an option, ']),
        ("passes:\n - name: a\n   topP: many\n", ['3: pass "a": Value for parameter "topP" must be of type number; ']),
        ("passes:\n - name: a\n\n   topP: 7\n", ['4: pass "a": Value for parameter "topP" must be a number above ']),
        ("passes:\n - name: a\n   promptMode: b\n", ['3: pass "a": Value for parameter "promptMode" must be one of ']),
        ("passes:\n - name: a\n   prompt: []\n", ['3: pass "a": Value for parameter "prompt" must be one or more ']),
        (
            "passes:\n - name: a\n   frameFormat: video\n   longestEdge: 384\n",
            ['4: pass "a": Value for parameter "longestEdge" must be 0 where "frameFormat" is video'],
        ),
        (
            "passes:\n - name: a\n   prompt: 'b\n",
            ["4: this is not YAML: while scanning a quoted scalar found unexpected"],
        ),
        (
            "passes: [a]\n---\npasses: [b]\n",
            ["2: this is not YAML: expected a single document in the stream but found"],
        ),
        ("passes: *a\n", ["1: this is not YAML: found undefined alias 'a'"]),
    ],
)
def test_mistakes_are_named_with_their_line(read: Any, text: str, said: list[str]) -> None:
    found = mistakes(read, text)
    assert [line[: len(start)] for line, start in zip(found, said, strict=True)] == said


def test_all_mistakes_at_once(read: Any) -> None:
    text = "passes:\n - slat\n - name: b\n   topP: 9\n - name: c\n   topk: 3\n"
    assert [line.partition(":")[0] for line in mistakes(read, text)] == ["2", "4", "6"]


def test_an_option_that_does_not_go_with_a_pass_is_a_mistake_of_the_pass(read: Any) -> None:
    (said,) = mistakes(read, "passes:\n - slate\n - preset: scene\n   frameFormat: video\n", longestEdge=["384"])
    assert said.startswith('3: pass "scene": Value for parameter "longestEdge" must be 0')


def test_a_plan_that_is_not_there(unstarted: SmolVLM2Captioner, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="none.yaml: the plan can't be read: .*No such file"):
        read_plan(tmp_path / "none.yaml", {}, {}, checker(unstarted))


def test_options_alone_are_a_plan_of_one_pass(unstarted: SmolVLM2Captioner) -> None:
    (made,) = single_pass({"tfLabels": ["slate"]}, checker(unstarted))
    assert (made.name, made.parameters, made.refined["tfLabels"]) == ("captions", {"tfLabels": ["slate"]}, ["slate"])
    with pytest.raises(PlanError, match='parameter "topP"'):
        single_pass({"topP": ["9"]}, checker(unstarted))
