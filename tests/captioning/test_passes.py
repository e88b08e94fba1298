"""Several passes over one MMIF: the same as one after the other, with each frame read once."""

import json
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import jsonschema
import pytest

from app import SmolVLM2Captioner
from captioning.call import CaptioningFailed, TakesPrompts
from captioning.passes import Annotated
from captioning.running import RunningCall
from captioning.window import all_done
from demo.annotations import interval_mmif, swt_mmif
from demo.broadcast import Broadcast
from demo.cards import KINDS
from engine.request import Completion, Request
from sampling.video import ByteBudget
from tests.captions import caption_views, captions, pass_by_pass, without_times

THREE = {
    "slates": {"tfLabels": ["slate"], "maxNewTokens": ["80"]},
    "everything": {"prompt": ["Describe."]},
    "cards": {"tfLabels": ["slate", "bars"], "prompt": ["Describe.", "A card.", "Describe."], "parallelPrompts": ["4"]},
}


def annotate(
    captioner: SmolVLM2Captioner,
    mmif: str,
    asked: Mapping[str, dict[str, list[str]]],
    through: Any = lambda call: call,
    window: int = 8,
) -> Annotated:
    return captioner.annotate_passes(
        mmif, asked, window=window, through=through, report_progress=lambda done, total: None
    )


def test_the_same_as_one_pass_after_the_other(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> None:
    given = swt_mmif(broadcast)
    made = annotate(captioner, given, THREE)
    assert without_times(made.mmif) == pass_by_pass(captioner, given, THREE)
    views = caption_views(made.mmif)
    assert [view.metadata["pass"] for view in views] == list(THREE)
    assert [view.metadata.parameters["prompt"] for view in views[1:]] == [
        "Describe.",
        "['Describe.', 'A card.', 'Describe.']",
    ]
    kinds = [segment.kind for segment in broadcast.segments]
    wanted = {"slates": {"slate"}, "everything": set(kinds), "cards": {"slate", "bars"}}
    for name, outcome in made.outcomes.items():
        assert len(outcome.captions) == sum(kind in wanted[name] for kind in kinds)
        for caption in outcome.captions:
            assert caption.completion.text == broadcast.expected_caption([instant.ms for instant in caption.instants])


def test_each_pass_has_its_own_form(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> None:
    card = {"type": "object", "properties": {"kind": {"enum": list(KINDS)}}, "required": ["kind"]}
    asked = {
        "kinds": {"outputChoices": list(KINDS)},
        "free": {"prompt": ["Describe."]},
        "cards": {"tfLabels": ["slate"], "outputSchema": [json.dumps(card)]},
        "slates": {"tfLabels": ["slate"], "outputSchema": ["slate"], "maxNewTokens": ["40"]},
    }
    made = annotate(captioner, swt_mmif(broadcast), asked)
    said = {name: [caption.completion.text for caption in made.outcomes[name].captions] for name in asked}
    assert said["kinds"] == [text.split()[0] for text in said["free"]] == [part.kind for part in broadcast.segments]
    assert said["cards"]
    for text in said["cards"]:
        jsonschema.validate(json.loads(text), card)
    assert {caption.mime for caption in made.outcomes["cards"].captions} == {"application/json"}
    assert all(text.startswith('{"program-title": ') for text in said["slates"])
    assert len(said["slates"]) == len(said["cards"])


def test_passes_that_make_time_points_of_their_own(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> None:
    given = interval_mmif(broadcast, labels=["slate", "chyron"])
    asked = {name: {"tfSamplingMode": ["single"], "tfLabels": ["slate"]} for name in ("one", "two")}
    assert without_times(annotate(captioner, given, asked).mmif) == pass_by_pass(captioner, given, asked)


def test_frames_that_several_passes_want_are_read_once(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> None:
    running = RunningCall()
    with running.current():
        made = annotate(captioner, swt_mmif(broadcast), THREE)
    seen = [len(caption.instants) for caption in made.outcomes["everything"].captions]
    assert running.frames == sum(seen)
    prompts = sum(len(outcome.captions) for outcome in made.outcomes.values())
    assert (running.total, running.submitted, running.done, running.captions) == (prompts,) * 4
    assert prompts > len(seen)


class Watched:
    """A call whose futures tell, when they are done, how many bytes of frames are held."""

    def __init__(self, call: TakesPrompts, budget: ByteBudget, held: list[int]) -> None:
        self._call = call
        self._budget = budget
        self._held = held
        self.in_flight = self.generating = 0
        self.cancel = call.cancel

    def submit_in_turn(self, requests: list[Request]) -> "list[Future[Completion]]":
        futures = self._call.submit_in_turn(requests)
        for future in futures:
            future.add_done_callback(lambda _: self._held.append(self._budget.held))
        return futures


def test_frames_are_held_until_the_last_pass_is_done_with_them(
    captioner: SmolVLM2Captioner, broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, held = ByteBudget(), list[int]()
    monkeypatch.setattr(captioner, "frame_budget", budget)
    asked = {name: {"tfLabels": ["slate"], "prompt": [f"Describe {name}."]} for name in ("one", "two", "three")}
    given = json.loads(swt_mmif(broadcast))
    frames = [a for a in given["views"][1]["annotations"] if a["properties"]["label"] == "slate"]
    given["views"][1]["annotations"] = frames[:1]
    annotate(captioner, json.dumps(given), asked, lambda call: Watched(call, budget, held), window=1)
    assert held == [budget.peak] * 3
    assert budget.peak > 0
    assert budget.held == 0


def test_a_pass_that_fails_costs_the_others_nothing(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> None:
    asked = {"bad": {"prompt": ["What is <image>?"]}, "slates": {"tfLabels": ["slate"]}}
    made = annotate(captioner, swt_mmif(broadcast), asked)
    bad, slates = json.loads(made.mmif)["views"][-2:]
    assert (bad["metadata"]["pass"], slates["metadata"]["pass"]) == ("bad", "slates")
    assert "error" not in bad["metadata"]
    (said,) = bad["metadata"]["warnings"]
    assert said == f"CaptioningFailed: {made.outcomes['bad'].failure}"
    assert {caption.text.split()[0] for caption in captions(made.mmif)} == {"slate"}
    last = annotate(captioner, swt_mmif(broadcast), dict(reversed(asked.items())))
    assert json.loads(last.mmif)["views"][-1]["metadata"]["pass"] == "bad"
    with pytest.raises(CaptioningFailed, match='Pass "bad": None of the .* Pass "worse": None of the'):
        annotate(captioner, swt_mmif(broadcast), {"bad": asked["bad"], "worse": asked["bad"]})


def test_a_call_of_one_is_not_marked(captioner: SmolVLM2Captioner, broadcast: Broadcast) -> None:
    (view,) = caption_views(captioner.annotate(swt_mmif(broadcast), tfLabels=["slate"]))
    assert "pass" not in view.metadata


def test_all_done_waits_for_all_whatever_they_come_to() -> None:
    futures: list[Future[int]] = [Future(), Future(), Future()]
    whole = all_done(futures)
    futures[1].set_result(1)
    futures[0].cancel()
    assert not whole.cancel()
    assert not whole.done()
    futures[2].set_exception(ValueError())
    assert whole.result(timeout=0) is futures
