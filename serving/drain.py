"""The way from the first SIGTERM to the end of the process."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable

from captioning.running import Reason
from serving.admission import Admission
from serving.calls import Calls

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_ECHO_SECONDS = 2.0  # within which a signal counts once: whoever signals the whole group reaches the server twice
ANSWER_SECONDS = 10.0  # that cancelled calls get to be answered


class Drain:
    """
    On the first signal no call is let in any more, and those in flight go on for the grace time; a second signal, or
    the end of that time, cancels what is left. Then the server may end.

    :param grace: seconds
    :param finished: is called when no call is left, or none ends any more
    """

    def __init__(self, calls: Calls, admission: Admission, grace: float, finished: Callable[[], None]) -> None:
        self._calls = calls
        self._admission = admission
        self._grace = grace
        self._finished = finished
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Wait for signals from now on."""
        self._thread.start()

    def signal(self, *, at_once: bool = False) -> None:
        """
        Begin to drain; if that has begun, cancel what is left. Takes no lock, so that signal handlers may call it.

        :param at_once: cancel without waiting
        """
        self._signals.put(at_once)

    def wait(self) -> None:
        """Wait until it is over."""
        self._thread.join()

    def _run(self) -> None:
        at_once = self._signals.get()
        self._admission.close()
        logger.warning("Draining: %d call(s) in flight have %g s to finish.", len(self._calls), self._grace)
        began = time.monotonic()
        while not at_once and len(self._calls) and time.monotonic() < began + self._grace:
            with contextlib.suppress(queue.Empty):
                at_once = self._signals.get(timeout=_LOOK_SECONDS) or time.monotonic() > began + _ECHO_SECONDS
        if len(self._calls):
            logger.warning("Draining: %d call(s) are cancelled.", len(self._calls))
            self._calls.cancel_all(Reason.DRAINING)
            self._calls.wait_until_none(ANSWER_SECONDS)
        self._finished()
