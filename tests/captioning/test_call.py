"""A call's window on the real engine: 40 TimeFrames of uneven length."""

import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from mmif import Mmif

from app import SmolVLM2Captioner
from captioning.call import CaptioningFailed, run
from captioning.parameters import Parameters
from captioning.plan import Plan, plan
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast, Segment, render
from engine.request import Completion, Request
from sampling.video import ByteBudget

COLOURS = ("red", "green", "blue", "yellow")
# One second to seven, over and over: so many frames, and so long a caption.
SEGMENTS: list[Segment] = []
for number in range(40):
    begin = SEGMENTS[-1].end if SEGMENTS else 0
    SEGMENTS.append(Segment(("slate", "chyron")[number % 2], COLOURS[number % 4], begin, begin + 1 + number * 5 % 7))


class Watched:
    """The real engine, and what was in flight in it at every moment."""

    def __init__(self, captioner: SmolVLM2Captioner) -> None:
        self._engine = captioner.engine
        self._lock = threading.Lock()
        self.in_flight: list[int] = []
        self.events: list[tuple[str, int]] = []
        self._now = 0
        self._submitted = 0

    def submit(self, request: Request) -> "Future[Completion]":
        with self._lock:
            number = self._submitted
            self._submitted += 1
            self._now += 1
            self.in_flight.append(self._now)
            self.events.append(("in", number))
        future = self._engine.submit(request)
        future.add_done_callback(lambda _: self._done(number))
        return future

    def _done(self, number: int) -> None:
        with self._lock:
            self._now -= 1
            self.events.append(("out", number))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Broadcast:
    return render(tmp_path_factory.mktemp("call") / "uneven.mp4", SEGMENTS, size=(320, 240))


def prepared(captioner: SmolVLM2Captioner, broadcast: Broadcast, **refined: Any) -> tuple[Plan, Parameters]:
    defaults = {p.name: p.default for p in captioner.metadata.parameters}
    parameters = Parameters.of(defaults | {"prompt": ["Describe."], "tfSamplingMode": "all"} | refined)
    return plan(Mmif(swt_mmif(broadcast)), parameters), parameters


@pytest.mark.parametrize("size", [1, 4, 16])
def test_so_many_in_flight_and_results_in_order(captioner: SmolVLM2Captioner, uneven: Broadcast, size: int) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=size)
    watched = Watched(captioner)
    progress: list[tuple[int, int]] = []
    budget = ByteBudget(64 * 1024**2)
    conversation = captioner._conversation(parameters)
    outcome = run(work, parameters, conversation, watched, budget, lambda done, total: progress.append((done, total)))
    assert len(watched.in_flight) == 40
    assert max(watched.in_flight) == size
    assert [caption.task.time_frame for caption in outcome.captions] == [f"v_1:tf_{n}" for n in range(1, 41)]
    for caption in outcome.captions:
        assert caption.completion.text == uneven.expected_caption([instant.ms for instant in caption.instants])
    assert progress == [(done, 40) for done in range(41)]
    assert outcome.warnings == []
    assert budget.held == 0


def test_a_slow_prompt_does_not_hold_the_window_up(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=2)
    short = [task for task in work.tasks if len(task.instants) == 1]
    work.tasks = [replace(short[0], instants=short[0].instants * 12), *short[1:]]  # twelve phrases, then one each
    watched = Watched(captioner)
    run(work, parameters, captioner._conversation(parameters), watched, ByteBudget(), lambda done, total: None)
    assert watched.events[0] == ("in", 0)
    passed = watched.events[: watched.events.index(("out", 0))]
    others = [number for kind, number in passed if kind == "out"]
    assert len(others) >= 2  # came and went while it was in flight
    assert max(number for kind, number in passed if kind == "in") >= 3


def test_frames_never_hold_more_than_the_budget(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=16)
    largest = max(len(task.instants) for task in work.tasks)
    budget = ByteBudget(largest * 320 * 240 * 4)  # just the largest prompt's
    outcome = run(
        work, parameters, captioner._conversation(parameters), captioner.engine, budget, lambda done, total: None
    )
    assert len(outcome.captions) == 40
    assert 0 < budget.peak <= budget.limit
    assert budget.held == 0


def test_when_all_fail_the_call_fails_and_says_why(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven, prompt=["What is <image>?"])
    with pytest.raises(CaptioningFailed, match="None of the TimeFrames could be captioned.*<image> stands for a frame"):
        run(
            work,
            parameters,
            captioner._conversation(parameters),
            captioner.engine,
            ByteBudget(),
            lambda done, total: None,
        )
