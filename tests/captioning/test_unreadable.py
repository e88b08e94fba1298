"""What a call says of frames that can't be read, and that the model is not asked about none."""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from mmif import AnnotationTypes, Mmif

from captioning.call import Outcome, Work, run
from captioning.parameters import Parameters
from captioning.plan import plan
from captioning.running import RunningCall
from captioning.warning import Cause
from demo.annotations import interval_mmif, swt_mmif
from demo.broadcast import Broadcast, Segment, render
from engine.errors import PromptRefused
from engine.request import Completion, Request
from metadata import appmetadata
from sampling.video import ByteBudget


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Broadcast:
    return render(tmp_path_factory.mktemp("unreadable") / "short.mp4", (Segment("slate", "blue", 0, 2),))


class Counting:
    """In the engine's place: what it is asked is counted, and answered at once."""

    in_flight = generating = 0

    def __init__(self) -> None:
        self.frames: list[int] = []

    def submit_in_turn(self, requests: Sequence[Request]) -> "list[Future[Completion]]":
        answered = []
        for request in requests:
            self.frames.append(len(request.images))
            future: Future[Completion] = Future()
            future.set_result(Completion(f"{len(request.images)} frames", "stop", 1, 1))
            answered.append(future)
        return answered

    def cancel(self) -> None:
        pass

    def check_frames(self, request: Request, frames: int) -> None:
        assert len(request.images) == 2
        if frames > 30:
            raise PromptRefused(f"{frames} frames are too many.")


def asked(mmif: Mmif, engine: Counting, budget: ByteBudget | None = None, **refined: Any) -> Outcome:
    defaults = {p.name: p.default for p in appmetadata().parameters}
    parameters = Parameters.of(defaults | {"prompt": ["?"], "tfSamplingMode": "all"} | refined)
    work = Work(plan(mmif, parameters), parameters, lambda frames: [[{"role": "user", "content": f"{frames}"}]])
    (outcome,) = run(
        [work],
        engine,
        budget or ByteBudget(),
        lambda *_: None,
        RunningCall(),
        window=1,
        check_frames=engine.check_frames,
    )
    return outcome


def test_a_video_that_cant_be_opened_is_no_question_to_the_model(short: Broadcast, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("This is no video.")
    mmif, engine = Mmif(swt_mmif(short)), Counting()
    mmif["d1"].location = f"file://{broken}"
    outcome = asked(mmif, engine)
    assert (engine.frames, outcome.captions) == ([], [])
    assert outcome.failure.startswith("None of the TimeFrames could be captioned. TimeFrame v_1:tf_1 was not captioned")
    assert [warning.cause for warning in outcome.warnings] == [Cause.UNREADABLE_VIDEO]


def test_frames_beyond_the_end_are_left_out_and_named(short: Broadcast) -> None:
    mmif, engine = Mmif(swt_mmif(short)), Counting()
    late = mmif["v_0"].new_annotation(AnnotationTypes.TimePoint, "tp_late", timePoint=60_000, document="d1")
    mmif["v_1:tf_1"].add_property("targets", ["v_0:tp_1", late.id])
    outcome = asked(mmif, engine)
    assert [caption.completion.text for caption in outcome.captions] == ["1 frames"]
    (warning,) = outcome.warnings
    assert warning.cause is Cause.UNREADABLE_FRAMES
    assert str(warning).startswith("TimeFrame v_1:tf_1: no picture can be read at 60000 ms of d1; left out.")


def test_a_timeframe_beyond_the_end_has_no_caption(short: Broadcast) -> None:
    mmif, engine = Mmif(swt_mmif(short)), Counting()
    late = mmif["v_0"].new_annotation(AnnotationTypes.TimePoint, "tp_late", timePoint=60_000, document="d1")
    mmif["v_1:tf_1"].add_property("targets", [late.id])
    outcome = asked(mmif, engine)
    assert (engine.frames, outcome.captions) == ([], [])
    (warning,) = outcome.warnings
    assert warning.cause is Cause.UNREADABLE_FRAMES
    assert str(warning) == (
        "TimeFrame v_1:tf_1 was not captioned: none of its frames can be read. The file may be shorter than its "
        "annotations say, truncated or damaged."
    )
    assert "none of its frames can be read" in outcome.failure


def test_of_one_video_nobody_has_to_say_which(short: Broadcast) -> None:
    mmif, engine = Mmif(interval_mmif(short, labels=[])), Counting()
    mmif["v_0"].new_annotation(AnnotationTypes.TimeFrame, "tf_9", label="slate", start=0, end=1000)
    outcome = asked(mmif, engine, tfSamplingMode="single")
    assert [caption.task.document for caption in outcome.captions] == ["d1"]


def test_more_frames_than_a_prompt_takes_are_not_read(short: Broadcast) -> None:
    mmif, engine, budget = Mmif(interval_mmif(short)), Counting(), ByteBudget()
    outcome = asked(mmif, engine, budget)
    assert (engine.frames, budget.peak) == ([], 0)
    (warning,) = outcome.warnings
    assert warning.cause is Cause.REFUSED
    assert str(warning) == "TimeFrame v_0:tf_1 was not captioned: 60 frames are too many."
    assert len(asked(mmif, engine, maxImagesPerPrompt=30).captions) == 2
    assert engine.frames == [30, 30]


def of_parts(short: Broadcast, *times: int) -> Mmif:
    """One TimeFrame with TimePoints at these times, in ms; the video has two seconds."""
    mmif = Mmif(swt_mmif(short))
    made = [mmif["v_0"].new_annotation(AnnotationTypes.TimePoint, timePoint=ms, document="d1").id for ms in times]
    mmif["v_1:tf_1"].add_property("targets", made)
    return mmif


def test_unreadable_frames_of_all_parts_are_told_together(short: Broadcast) -> None:
    mmif = of_parts(short, 0, 60_000, 500, 61_000)
    outcome = asked(mmif, Counting(), maxImagesPerPrompt=2)
    assert len(outcome.captions) == 2
    (warning,) = outcome.warnings
    assert str(warning).startswith("TimeFrame v_1:tf_1: no picture can be read at 60000, 61000 ms of d1; left out.")


def test_many_unreadable_frames_are_counted(short: Broadcast) -> None:
    outcome = asked(of_parts(short, 0, *range(60_000, 70_001, 1000)), Counting())
    (warning,) = outcome.warnings
    assert "no picture can be read at 11 instants between 60000 and 70000 ms of d1; left out." in str(warning)


def test_the_parts_that_fail_of_a_timeframe_that_has_captions_are_named(short: Broadcast) -> None:
    outcome = asked(of_parts(short, 0, 60_000, 500, 61_000), Counting(), maxImagesPerPrompt=1)
    assert len(outcome.captions) == 2
    (warning,) = outcome.warnings
    assert warning.time_frames == ("v_1:tf_1",)
    assert str(warning).startswith("TimeFrame v_1:tf_1: parts 2, 4 of 4 were not captioned: none of its frames can")


def test_a_timeframe_all_of_whose_parts_fail_has_one_warning(short: Broadcast) -> None:
    engine = Counting()
    outcome = asked(of_parts(short, *[0] * 40, 60_000), engine, maxImagesPerPrompt=40)
    (warning,) = outcome.warnings
    assert str(warning).startswith(
        "TimeFrame v_1:tf_1 was not captioned: 40 frames are too many. None of its frames can be read."
    )
