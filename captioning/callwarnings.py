"""
Python warnings, kept apart by call.

The SDK records a call's warnings with ``warnings.catch_warnings``, which swaps state of the whole process: two calls at
once would take each other's warnings, and the one that ends last would leave the process with a dead recorder. Here a
call is a context (:mod:`contextvars`), and its warnings go to its own list.
"""

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TextIO

_recording: ContextVar[list[warnings.WarningMessage] | None] = ContextVar("recording", default=None)
_lock = threading.Lock()


class CallWarnings:
    """Stands in for the module :mod:`warnings` where the SDK uses it; all else is the module's own."""

    @contextlib.contextmanager
    def catch_warnings(self, *, record: bool = False) -> Iterator[list[warnings.WarningMessage]]:
        """Collect the warnings of the running context, and only these, in the list that is handed out."""
        if not record:
            raise NotImplementedError("only recording is kept apart by call")
        _hook_in()
        collected: list[warnings.WarningMessage] = []
        token = _recording.set(collected)
        try:
            yield collected
        finally:
            _recording.reset(token)

    def warn(self, message: str | Warning, category: type[Warning] = UserWarning, stacklevel: int = 1) -> None:
        """Warn the call that is running; no filter of the process can hold it back or raise it."""
        collected = _recording.get()
        if collected is None:
            warnings.warn(message, category, stacklevel + 1)
            return
        caller = sys._getframe(stacklevel)
        warning = message if isinstance(message, Warning) else category(message)
        collected.append(warnings.WarningMessage(warning, type(warning), caller.f_code.co_filename, caller.f_lineno))

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


def _hook_in() -> None:
    with _lock:
        if not isinstance(warnings.showwarning, _Router):
            warnings.showwarning = _Router(warnings.showwarning)  # documented as replaceable
        # Otherwise a warning already shown once, in whichever call, would be held back in the next.
        warnings.filterwarnings("always", category=UserWarning, append=True)


class _Router:
    def __init__(self, elsewhere: Any) -> None:
        self._elsewhere = elsewhere

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        collected = _recording.get()
        if collected is None:
            self._elsewhere(message, category, filename, lineno, file, line)
        else:
            collected.append(warnings.WarningMessage(message, category, filename, lineno, file, line))
