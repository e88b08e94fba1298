"""How long callers are told to wait."""

from types import SimpleNamespace

import pytest

from app import SmolVLM2Captioner
from captioning.running import RunningCall
from serving.admission import Admission, Full
from serving.calls import Calls
from serving.front import Service
from serving.rate import Rate
from serving.settings import ServingSettings


def test_the_rate_is_that_of_the_last_minutes() -> None:
    counter = SimpleNamespace(now=0.0, count=0)
    rate = Rate(lambda: counter.count, seconds=100, clock=lambda: counter.now)
    assert rate.per_second() == 0
    rate.look()
    assert rate.per_second() == 0
    counter.now, counter.count = 50.0, 100
    assert rate.per_second() == 2
    rate.look()
    counter.now, counter.count = 150.0, 150
    rate.look()
    assert rate.per_second() == 0.5  # of the first 50 seconds nothing is known any more
    counter.now = 400.0
    rate.look()
    rate.look()
    assert rate.per_second() == 0
    counter.now, counter.count = 410.0, 170
    assert rate.per_second() == 2  # and nothing of the long time in which nobody looked


def test_an_idle_spell_is_not_taken_for_a_slow_engine() -> None:
    load = SimpleNamespace(waiting=0, bytes_held=0, answered=0)
    clock = SimpleNamespace(now=0.0)
    admission = Admission(ServingSettings(max_calls=1), load, SimpleNamespace(held=0), Calls())
    admission._rate = Rate(lambda: load.answered, clock=lambda: clock.now)
    with admission.admitted(RunningCall(), 0):
        clock.now, load.answered = 60.0, 600
    for clock.now in range(70, 10_000, 10):  # as the history does
        admission.look()
    call = RunningCall()
    with admission.admitted(call, 0):
        clock.now, load.answered, call.total = clock.now + 10, load.answered + 100, 200
        with pytest.raises(Full) as full, admission.admitted(RunningCall(), 0):
            pass
    assert full.value.retry_after == 20  # 200 prompts, at 10 a second


def test_the_history_has_the_rate_looked_at() -> None:
    service = Service.of(SmolVLM2Captioner(), ServingSettings(max_calls=1))
    service.watch._sample()
    assert service.admission._rate._seen


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 10), (2.0, 6), (100.0, 1), (0.001, 600)])
def test_retry_after_by_the_measured_rate(monkeypatch: pytest.MonkeyPatch, rate: float, expected: int) -> None:
    monkeypatch.setattr(Rate, "per_second", lambda self: rate)
    load = SimpleNamespace(waiting=0, bytes_held=0, answered=0)
    calls = Calls()
    admission = Admission(ServingSettings(max_calls=2), load, SimpleNamespace(held=0), calls)
    large, small = RunningCall(), RunningCall()
    large.total, large.done, small.total, small.done = 1000, 10, 8, 2
    with admission.admitted(large, 0), admission.admitted(small, 0):
        # The small one's 6 prompts, while the large one takes turns with it: 12 prompts at that rate.
        with pytest.raises(Full) as full, admission.admitted(RunningCall(), 0):
            pass
        assert full.value.retry_after == expected
        assert full.value.bound.name == "calls"
        assert len(calls) == 2
    assert len(calls) == 0
    with admission.admitted(RunningCall(), 0):
        assert len(calls) == 1
