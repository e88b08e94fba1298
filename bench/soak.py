"""Many calls to one server, and what they leave behind in it."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import psutil
import requests

from bench.calls import Call
from bench.server import Server

POINTS = 40
# Of a whole run, after its first third, in which caches fill and allocators settle.
MEMORY_GROWTH = 0.03
MEMORY_SLACK = 16 * 1024**2  # bytes
THREADS_SLACK = 4
DESCRIPTORS_SLACK = 8


class Sample(NamedTuple):
    """What the server's processes hold, while no call is in flight."""

    calls: int
    server_bytes: int
    engine_bytes: int
    threads: int
    descriptors: int


@dataclass
class Soak:
    """
    Makes the same call over and over, by several clients at once.

    :param samples: taken at equal distances, in calls
    """

    server: Server
    call: Call
    clients: int

    def __post_init__(self) -> None:
        self.samples: list[Sample] = []
        self._local = threading.local()

    def run(self, calls: int, steps: Callable[[Sequence[int]], Iterable[int]] = iter) -> None:
        """
        Make so many calls.

        :param steps: is given the numbers of the stretches between two samples, and returns them
        :raises AssertionError: if a call comes to another caption than it has to
        """
        stretch = max(self.clients, calls // POINTS)
        with ThreadPoolExecutor(self.clients) as clients:
            for number in steps(range(calls // stretch)):
                list(clients.map(lambda _: self._make(), range(stretch)))
                self.samples.append(self._sample((number + 1) * stretch))

    def growth(self) -> list[str]:
        """Say of what there is more at the end than after the first third; empty if of nothing."""
        settled = self.samples[len(self.samples) // 3 :]
        found = []
        for name in ("server_bytes", "engine_bytes"):
            values = [getattr(sample, name) for sample in settled]
            rise = slope([sample.calls for sample in settled], values) * (settled[-1].calls - settled[0].calls)
            if rise > MEMORY_GROWTH * values[0] + MEMORY_SLACK:
                found.append(f"{name} rose by {rise / 1024**2:.0f} MiB from {values[0] / 1024**2:.0f} MiB")
        for name, slack in (("threads", THREADS_SLACK), ("descriptors", DESCRIPTORS_SLACK)):
            values = [getattr(sample, name) for sample in settled]
            if max(values) > values[0] + slack:
                found.append(f"{name} rose from {values[0]} to {max(values)}")
        return found

    def _make(self) -> None:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        self.call.make(self.server.url, session=self._local.session, params={"parallelPrompts": 8})

    def _sample(self, calls: int) -> Sample:
        worker = self.server.worker
        engines = worker.children(recursive=True)
        processes = [worker, *engines]
        return Sample(
            calls,
            worker.memory_info().rss,
            sum(_resident(engine) for engine in engines),
            sum(process.num_threads() for process in processes),
            sum(process.num_fds() for process in processes),
        )


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """Return by how much the values rise from one place to the next, by least squares."""
    middle, mean = sum(places) / len(places), sum(values) / len(values)
    spread = sum((place - middle) ** 2 for place in places)
    return sum((place - middle) * (value - mean) for place, value in zip(places, values)) / spread


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)
