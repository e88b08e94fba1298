"""Two calls at once each get their own warnings, and the process keeps its warning machinery."""

import threading
import warnings

import pytest

from captioning.callwarnings import CallWarnings


def texts(collected: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in collected]


def test_concurrent_calls_get_their_own_and_only_theirs() -> None:
    both_in = threading.Barrier(2, timeout=30)
    both_warned = threading.Barrier(2, timeout=30)
    collected: dict[str, list[str]] = {}

    def call(name: str) -> None:
        with CallWarnings().catch_warnings(record=True) as own:
            both_in.wait()
            warnings.warn(f"from {name}", UserWarning, stacklevel=1)
            both_warned.wait()
        collected[name] = texts(own)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        threads = [threading.Thread(target=call, args=[name]) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert collected == {"a": ["from a"], "b": ["from b"]}


def test_the_same_warning_is_told_to_every_call() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for _ in range(2):
            with CallWarnings().catch_warnings(record=True) as own:
                warnings.warn("again", UserWarning, stacklevel=1)
            assert texts(own) == ["again"]


def test_outside_of_calls_warnings_go_where_they_went() -> None:
    with warnings.catch_warnings(record=True) as process:
        warnings.simplefilter("always")
        with CallWarnings().catch_warnings(record=True) as own:
            pass
        warnings.warn("of nobody", UserWarning, stacklevel=1)
    assert texts(own) == []
    assert texts(process) == ["of nobody"]


def test_a_warning_of_the_app_is_told_to_its_call_whatever_filters_say() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CallWarnings().catch_warnings(record=True) as own:
            CallWarnings().warn("of the call")
            CallWarnings().warn(RuntimeWarning("another kind"))
    assert [(type(w.message), str(w.message), w.category) for w in own] == [
        (UserWarning, "of the call", UserWarning),
        (RuntimeWarning, "another kind", RuntimeWarning),
    ]
    assert {warning.filename for warning in own} == {__file__}


def test_outside_of_calls_a_warning_of_the_app_is_the_process_s() -> None:
    with pytest.warns(UserWarning, match="of nobody"):
        CallWarnings().warn("of nobody")


def test_only_recording_is_kept_apart() -> None:
    with pytest.raises(NotImplementedError, match="recording"), CallWarnings().catch_warnings():
        pass


def test_all_else_is_the_modules_own() -> None:
    assert CallWarnings().simplefilter is warnings.simplefilter
