"""The last hour, in samples."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

SECONDS = 10  # from one sample to the next
POINTS = 360
_RATE_POINTS = 6  # a rate is that over the last minute

logger = logging.getLogger(__name__)


class Sample(NamedTuple):
    """
    One moment.

    :param captions: since the start
    :param waiting: prompts that are not in the model
    :param kv_cache: share in use, 0 to 1
    :param gpu_memory: share in use by anyone, 0 to 1; ``None`` without a GPU
    """

    captions: int
    waiting: int
    kv_cache: float
    gpu_memory: float | None


class History:
    """
    A ring of samples, filled by one thread.

    :param take: takes a sample
    """

    def __init__(self, take: Callable[[], Sample]) -> None:
        self._take = take
        self._samples: deque[Sample] = deque(maxlen=POINTS + _RATE_POINTS)
        self._started = threading.Lock()

    def start(self) -> None:
        """Begin; a second time does nothing. Not before the server has forked: threads stay behind."""
        if self._started.acquire(blocking=False):
            threading.Thread(target=self._run, name="history", daemon=True).start()

    def add(self, sample: Sample) -> None:
        """Append a sample; the oldest goes when there are more than an hour's."""
        self._samples.append(sample)

    def series(self) -> dict[str, list[float | None]]:
        """Return the quantities by name, the latest value last; ``None`` where there is none."""
        samples = list(self._samples)
        shown = range(max(0, len(samples) - POINTS), len(samples))
        return {
            "captions_per_minute": [_rate(samples, place) for place in shown],
            "waiting": [samples[place].waiting for place in shown],
            "kv_cache": [samples[place].kv_cache for place in shown],
            "gpu_memory": [samples[place].gpu_memory for place in shown],
        }

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self.add(self._take())
            except Exception:
                logger.exception("The status page's history misses a sample.")
            pause.wait(SECONDS)


def _rate(samples: list[Sample], place: int) -> float | None:
    before = max(0, place - _RATE_POINTS)
    if before == place:
        return None
    return (samples[place].captions - samples[before].captions) * 60 / ((place - before) * SECONDS)
