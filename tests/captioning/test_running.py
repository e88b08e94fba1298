"""A call as those see it who count calls, cancel them, or are given one past the SDK."""

import threading

import pytest

from captioning.running import CallCancelled, Reason, RunningCall, current


def test_its_priority_has_the_name_that_callers_give_it() -> None:
    assert (RunningCall().priority, RunningCall(background=True).priority) == ("normal", "background")


def test_whoever_waits_for_its_end_is_told_once() -> None:
    call, told = RunningCall(), list[str]()
    with call.on_cancel(lambda: told.append("waits")):
        with call.on_cancel(lambda: told.append("has left")):
            pass
        assert call.cancel(Reason.DELETED)
        assert not call.cancel(Reason.DRAINING)
        with call.on_cancel(lambda: told.append("comes late")):
            pass
    assert told == ["waits", "comes late"]
    assert call.reason is Reason.DELETED
    with pytest.raises(CallCancelled, match="deleted"):
        call.check()


def test_at_its_time_limit_it_goes_on_with_what_is_done() -> None:
    call, over = RunningCall(seconds=0.01), threading.Event()
    with call.on_cancel(over.set), call.watching_the_clock():
        assert over.wait(60)
    assert call.reason is Reason.DEADLINE
    call.check()
    assert call.age > 0.01


def test_only_its_own_context_knows_it() -> None:
    call, others = RunningCall(), list[RunningCall | None]()
    with call.current():
        assert current() is call
        thread = threading.Thread(target=lambda: others.append(current()))
        thread.start()
        thread.join()
    assert (current(), others) == (None, [None])
