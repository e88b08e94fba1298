"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable

_LONGEST_SECONDS = 300  # no measurement: so long that what has not come by then will not


def wait_until(reached: Callable[[], object]) -> None:
    """Wait until something is so; a test that waits in vain fails."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)
