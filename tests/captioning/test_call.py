"""A call's window on the real engine: 40 TimeFrames of uneven length."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from fsspec import filesystem
from fsspec.implementations.memory import MemoryFileSystem
from mmif import Mmif

from app import SmolVLM2Captioner
from captioning.call import CaptioningFailed, Outcome, TakesPrompts, Work, run
from captioning.parameters import Parameters
from captioning.plan import Plan, plan
from captioning.running import CallCancelled, Reason, RunningCall
from captioning.warning import Cause
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast, Segment, render
from engine.errors import EngineDied
from engine.request import Completion, Request
from sampling.pixels import image_bytes
from sampling.video import ByteBudget
from tests.waiting import wait_until

COLOURS = ("red", "green", "blue", "yellow")
# One second to seven, over and over: so many frames, and so long a caption.
SEGMENTS: list[Segment] = []
for number in range(40):
    begin = SEGMENTS[-1].end if SEGMENTS else 0
    SEGMENTS.append(Segment(("slate", "chyron")[number % 2], COLOURS[number % 4], begin, begin + 1 + number * 5 % 7))


class Watched:
    """The real engine, and what was in flight in it at every moment."""

    def __init__(self, captioner: SmolVLM2Captioner) -> None:
        self._engine = captioner.engine.open_call()
        self._lock = threading.Lock()
        self.counts: list[int] = []
        self.events: list[tuple[str, int]] = []
        self._now = 0
        self._submitted = 0

    def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
        with self._lock:
            numbers = range(self._submitted, self._submitted + len(requests))
            self._submitted += len(requests)
            self._now += len(requests)
            self.counts.extend([self._now] * len(requests))
            self.events.extend(("in", number) for number in numbers)
        futures = self._engine.submit_in_turn(requests)
        for number, future in zip(numbers, futures):
            future.add_done_callback(partial(self._done, number))
        return futures

    @property
    def in_flight(self) -> int:
        return self._engine.in_flight

    @property
    def generating(self) -> int:
        return self._engine.generating

    def cancel(self) -> None:
        self._engine.cancel()

    def _done(self, number: int, _: "Future[Completion]") -> None:
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


def ask(
    captioner: SmolVLM2Captioner,
    work: Plan,
    parameters: Parameters,
    *,
    engine: TakesPrompts | None = None,
    budget: ByteBudget | None = None,
    running: RunningCall | None = None,
    report_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    call = running or RunningCall()
    with call.watching_the_clock():  # as the app does, from before its plan is made
        (outcome,) = run(
            [Work(work, parameters, captioner._conversation(parameters))],
            engine or captioner.engine.open_call(),
            budget or ByteBudget(),
            report_progress,
            call,
            window=parameters.parallel_prompts,
        )
    outcome.check()
    return outcome


@pytest.mark.parametrize("size", [1, 4, 16])
def test_so_many_in_flight_and_results_in_order(captioner: SmolVLM2Captioner, uneven: Broadcast, size: int) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=size)
    watched = Watched(captioner)
    progress: list[tuple[int, int]] = []
    budget = ByteBudget(64 * 1024**2)
    running = RunningCall()
    outcome = ask(
        captioner,
        work,
        parameters,
        engine=watched,
        budget=budget,
        running=running,
        report_progress=lambda done, total: progress.append((done, total)),
    )
    assert len(watched.counts) == 40
    assert max(watched.counts) == size
    assert [caption.task.time_frame for caption in outcome.captions] == [f"v_1:tf_{n}" for n in range(1, 41)]
    for caption in outcome.captions:
        assert caption.completion.text == uneven.expected_caption([instant.ms for instant in caption.instants])
    assert progress == [(done, 40) for done in range(41)]
    assert (running.total, running.done, running.captions) == (40, 40, 40)
    assert running.frames == sum(len(caption.instants) for caption in outcome.captions)
    assert running.stages == (0, 0, 0, 0)
    assert outcome.warnings == []
    assert budget.held == 0


class Dies(Watched):
    """It goes away for good under the third prompt."""

    def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
        (future,) = super().submit_in_turn(requests)
        if self._submitted != 3:
            return [future]
        lost: Future[Completion] = Future()
        lost.set_exception(EngineDied("gone"))
        return [lost]


def test_an_engine_that_goes_away_ends_the_call_and_nothing_of_it_stays(
    captioner: SmolVLM2Captioner, uneven: Broadcast
) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=4)
    dying, budget = Dies(captioner), ByteBudget()
    with pytest.raises(EngineDied, match="^gone$"):
        ask(captioner, work, parameters, engine=dying, budget=budget)
    assert dying.in_flight == 0
    wait_until(lambda: budget.held == 0)


class FirstIsSlow(Watched):
    """The answer to the first prompt is handed on only when two others have come and gone."""

    def __init__(self, captioner: SmolVLM2Captioner) -> None:
        super().__init__(captioner)
        self.gone_before: list[int] = []
        self._two_others = threading.Event()

    def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
        (future,) = super().submit_in_turn(requests)
        if self._submitted > 1:
            return [future]
        slow: Future[Completion] = Future()
        threading.Thread(target=self._hand_on, args=[future, slow], name="slow").start()
        return [slow]

    def _hand_on(self, future: "Future[Completion]", slow: "Future[Completion]") -> None:
        self._two_others.wait(60)  # for ever, if the window stood still
        self.gone_before = [number for kind, number in self.events if kind == "out" and number]
        slow.set_result(future.result())

    def _done(self, number: int, future: "Future[Completion]") -> None:
        super()._done(number, future)
        if sum(kind == "out" and number > 0 for kind, number in self.events) == 2:
            self._two_others.set()


def test_a_slow_prompt_does_not_hold_the_window_up(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=2)
    watched = FirstIsSlow(captioner)
    outcome = ask(captioner, work, parameters, engine=watched)
    assert watched.events[0] == ("in", 0)
    assert len(watched.gone_before) >= 2
    for caption in outcome.captions:
        assert caption.completion.text == uneven.expected_caption([instant.ms for instant in caption.instants])


def test_frames_never_hold_more_than_the_budget(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=16)
    largest = max(len(task.instants) for task in work.tasks)
    budget = ByteBudget(largest * image_bytes(320, 240))  # just the largest prompt's
    outcome = ask(captioner, work, parameters, budget=budget)
    assert len(outcome.captions) == 40
    assert 0 < budget.peak <= budget.limit
    assert budget.held == 0


def test_the_frames_of_the_next_prompt_are_read_while_one_is_answered(
    captioner: SmolVLM2Captioner, uneven: Broadcast
) -> None:
    """With one prompt at a time: each goes into the engine only when more than its own frames are read."""
    work, parameters = prepared(captioner, uneven, parallelPrompts=1)
    work.tasks = work.tasks[:6]
    budget = ByteBudget()

    class Patient(Watched):
        def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
            (request,) = requests
            last = len(self.counts) == len(work.tasks) - 1
            wait_until(lambda: last or budget.held > len(request.images) * image_bytes(320, 240))  # the next one's
            return super().submit_in_turn(requests)

    patient = Patient(captioner)
    outcome = ask(captioner, work, parameters, engine=patient, budget=budget)
    assert len(outcome.captions) == 6
    assert max(patient.counts) == 1
    assert budget.held == 0


def test_when_all_fail_the_call_fails_and_says_why(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven, prompt=["What is <image>?"])
    with pytest.raises(CaptioningFailed, match="None of the TimeFrames could be captioned.*<image> stands for a frame"):
        ask(captioner, work, parameters)


class Asked:
    """A call on a thread of its own, and what it has come to."""

    def __init__(self, captioner: SmolVLM2Captioner, work: Plan, parameters: Parameters, budget: ByteBudget) -> None:
        self.running = RunningCall()
        self.outcome: Outcome | BaseException

        def work_through() -> None:
            try:
                self.outcome = ask(captioner, work, parameters, budget=budget, running=self.running)
            except BaseException as error:
                self.outcome = error

        self._thread = threading.Thread(target=work_through, daemon=True)
        self._thread.start()

    def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            assert self._thread.is_alive()
            time.sleep(0.001)

    def end(self) -> Outcome | BaseException:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.outcome


def nothing_is_left(captioner: SmolVLM2Captioner, budget: ByteBudget) -> None:
    engine = captioner.engine
    wait_until(lambda: not engine.in_flight and not engine.unfinished_in_vllm)  # it is told on a thread of its own
    assert budget.held == 0
    for thread in threading.enumerate():
        if thread.name.startswith(("frames-", "deadline-")):  # told to end, but not yet ended
            thread.join(60)
            assert not thread.is_alive(), thread.name


@pytest.mark.parametrize("reason", [Reason.CLIENT_GONE, Reason.DELETED, Reason.DRAINING])
def test_cancelled_while_its_prompts_wait_and_generate(
    captioner: SmolVLM2Captioner, uneven: Broadcast, reason: Reason
) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=40)
    budget = ByteBudget()
    asked = Asked(captioner, work, parameters, budget)
    asked.until(lambda: asked.running.stages.waiting > 0 and asked.running.stages.generating > 0)
    assert asked.running.cancel(reason)
    assert not asked.running.cancel(Reason.DEADLINE)
    error = asked.end()
    assert isinstance(error, CallCancelled)
    assert error.reason is reason
    assert asked.running.done < 40
    nothing_is_left(captioner, budget)


def test_cancelled_while_a_reader_waits_for_bytes(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven)
    budget = ByteBudget(1)
    assert budget.try_acquire(1)  # by another call
    asked = Asked(captioner, work, parameters, budget)
    asked.until(lambda: budget.waiting > 0)
    assert asked.running.stages == (39, 1, 0, 0)
    asked.running.cancel(Reason.CLIENT_GONE)
    assert isinstance(asked.end(), CallCancelled)
    assert budget.waiting == 0
    budget.release(1)
    nothing_is_left(captioner, budget)


def test_cancelled_before_it_begins(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven)
    running, budget = RunningCall(), ByteBudget()
    running.cancel(Reason.DELETED)
    with pytest.raises(CallCancelled):
        ask(captioner, work, parameters, running=running, budget=budget)
    assert (running.submitted, budget.peak) == (0, 0)


def test_at_its_deadline_a_call_returns_what_is_done_and_names_the_rest(
    captioner: SmolVLM2Captioner, uneven: Broadcast
) -> None:
    work, parameters = prepared(captioner, uneven, parallelPrompts=4)
    running, budget = RunningCall(seconds=3600), ByteBudget()

    def progress(done: int, _: int) -> None:
        if done == 10:
            running.cancel(Reason.DEADLINE)

    outcome = ask(captioner, work, parameters, running=running, budget=budget, report_progress=progress)
    done = [caption.task.time_frame for caption in outcome.captions]
    assert 10 <= len(done) < 40
    for caption in outcome.captions:
        assert caption.completion.text == uneven.expected_caption([instant.ms for instant in caption.instants])
    (warning,) = outcome.warnings
    left = [task.time_frame for task in work.tasks if task.time_frame not in done]
    assert warning.cause is Cause.DEADLINE
    assert str(warning).startswith(
        f"{len(left)} TimeFrames were not captioned ({', '.join(left)}): the call's time of 3600 s"
    )
    assert running.warnings == {Cause.DEADLINE: 1}
    nothing_is_left(captioner, budget)


def test_a_call_without_time_fails_and_says_so(captioner: SmolVLM2Captioner, uneven: Broadcast) -> None:
    work, parameters = prepared(captioner, uneven)
    running, budget = RunningCall(seconds=0), ByteBudget()
    with pytest.raises(CaptioningFailed, match="40 TimeFrames were not captioned .* the call's time of 0 s was over"):
        ask(captioner, work, parameters, running=running, budget=budget)
    assert running.reason is Reason.DEADLINE
    nothing_is_left(captioner, budget)


def test_the_time_that_a_video_takes_to_fetch_counts(
    captioner: SmolVLM2Captioner, uneven: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, over = threading.Event(), threading.Event()

    def endless(self: Any, name: str, target: str, callback: Any) -> None:
        began.set()
        while not over.wait(0.01):
            callback.relative_update(1)

    memory = filesystem("memory")
    memory.pipe("/tapes/a.mp4", bytes(1000_000))
    monkeypatch.setattr(MemoryFileSystem, "get_file", endless)
    mmif = Mmif(swt_mmif(uneven))
    mmif["d1"].location = "memory://tapes/a.mp4"
    try:
        with (
            RunningCall(seconds=0.5).current(),
            pytest.raises(CaptioningFailed, match="the call's time of 0.5 s was over"),
        ):
            captioner.annotate(mmif)
        assert began.is_set()
    finally:
        over.set()
        memory.rm("/tapes", recursive=True)


def test_a_time_limit_beyond_all_clocks_is_none() -> None:
    running = RunningCall(seconds=1e300)
    with running.watching_the_clock():  # a timer that can't wait so long would die with an error
        pass
    assert running.reason is None
