"""
A call of one prompt: how long does it take beside a backfill, against how long while the server is idle?

The backfill keeps as many prompts in flight as ``backfill.py --server`` does, in the background as that one sends them
(``X-Priority: background``), and then at normal priority, as a caller who says nothing. All three take turns, and each
round begins with another; a ratio is that of the medians of one round. No two calls have a frame in common, nor has one
with the backfill: it would be found in the engine's cache. There is a pause between calls, so that each finds the
backfill at full speed, and not what the call before has left of it. What the backfill gets done meanwhile is shown,
too: nobody may stand still.
"""

import argparse
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import requests
from rich.table import Table

from bench.models import add_model_option, kv_cache_gib, model_folder
from bench.samples import percentile, ratio_of_neighbours
from bench.workloads import broadcast, fresh_prompts

if TYPE_CHECKING:
    from bench.run import Run
    from bench.server import Server

ROUNDS = 6
CALLS = 10  # in each round
PAUSE_SECONDS = 0.3  # between two of them; the backfill does several prompts in it
PROMPTS = 400  # of one call of the backfill, which is made over and over
IN_FLIGHT = 16
TARGET = 1.5
BACKFILLED, CALLED = 0, 1  # parts of the broadcast; other scenarios have called the same server with the first
BESIDE = {"idle": None, "background": "background", "normal": "normal"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"[default: {ROUNDS}]")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"in each round [default: {CALLS}]")
    parser.add_argument(
        "--in-flight", type=int, default=IN_FLIGHT, help=f"prompts of the backfill [default: {IN_FLIGHT}]"
    )


def measure(run: "Run") -> None:
    """
    Call the server while it is idle, beside a backfill in the background, and beside one that isn't.

    :raises ValueError: if there are more calls than the video has frames for
    """
    options = run.options
    rounds, calls = (1, 3) if run.quick else (options.rounds, options.calls)
    if 1 + rounds * calls * len(BESIDE) > (most := fresh_prompts(run.quick)):
        raise ValueError(f"{rounds} rounds of {len(BESIDE)} times {calls} calls and one before: at most {most} in all")
    run.settings |= {"model": options.model, "rounds": rounds, "calls": calls, "in_flight": options.in_flight}
    folder = model_folder(options.model)
    server = run.engines.server(model=str(folder), kv_cache_gib=kv_cache_gib(folder))
    bodies = (broadcast(1, turn, quick=run.quick, part=CALLED).mmif() for turn in itertools.count())
    backfill = broadcast(40 if run.quick else PROMPTS, 0, quick=run.quick, part=BACKFILLED).mmif()
    latencies: dict[str, list[float]] = {name: [] for name in BESIDE}

    def beside(name: str) -> Callable[[], float]:
        def one_round() -> float:
            asked = list(itertools.islice(bodies, calls))
            with _backfill(server, backfill, BESIDE[name], options.in_flight):
                before, began = _answered(server), time.perf_counter()
                for body in asked:
                    time.sleep(PAUSE_SECONDS)
                    latencies[name].append(_ask(server, body))
                return (_answered(server) - before - calls) / (time.perf_counter() - began)

        return one_round

    _ask(server, next(bodies))
    done = run.take_turns({name: beside(name) for name in BESIDE}, rounds, warm_up=0)
    _report(run, latencies, done)


def _report(run: "Run", latencies: dict[str, list[float]], done: dict[str, list[float]]) -> None:
    rounds = len(done["idle"])
    table = Table(title=f"seconds that a call of one prompt takes ({run.options.model}); target: {TARGET} times idle")
    for column in ("beside", "median", "90%", "longest", "times idle", "prompts/s of the backfill"):
        table.add_column(column, justify="left" if column == "beside" else "right")
    figures = {
        name: run.record(f"{name}.latency", taken, "s", "less", rounds=rounds) for name, taken in latencies.items()
    }
    for name, taken in latencies.items():
        words, beside = "nothing", ["", ""]
        if name != "idle":
            words = f"{run.options.in_flight} prompts in flight, {name}"
            ratios = ratio_of_neighbours(figures[name].by_round, figures["idle"].by_round)
            ratio = run.record(f"{name}.ratio", ratios, "x", "less").interval
            rate = run.record(f"{name}.backfill", done[name], "prompts/s", "more").interval
            beside = [f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})", f"{rate.value:.1f}"]
        shares = (percentile(taken, 0.5), percentile(taken, 0.9), max(taken))
        table.add_row(words, *(f"{seconds:.3f}" for seconds in shares), *beside)
    run.show(table)


def _ask(server: "Server", mmif: str) -> float:
    """Make a call; returns the seconds that it takes."""
    began = time.perf_counter()
    answer = requests.post(server.url + "/", data=mmif.encode(), timeout=600)
    seconds = time.perf_counter() - began
    if answer.status_code != 200 or "TextDocument" not in answer.text:
        raise RuntimeError(f"A call was answered with {answer.status_code}: {answer.text[:500]}")
    return seconds


@contextlib.contextmanager
def _backfill(server: "Server", mmif: str, priority: str | None, in_flight: int) -> Iterator[None]:
    """Keep so many prompts in flight until the block is left, and wait then until they are gone."""
    if priority is None:
        yield
        return
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            requests.post(
                server.url + "/",
                data=mmif.encode(),
                params={"parallelPrompts": in_flight},
                headers={"X-Priority": priority},
                timeout=3600,
            )

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        _wait(lambda: any(call["done"] > in_flight for call in _calls(server)))
        yield
    finally:
        over.set()
        while thread.is_alive():
            for call in _calls(server):
                requests.delete(f"{server.url}/calls/{call['id']}", timeout=60)
            thread.join(0.1)
        _wait(lambda: not _calls(server))


def _calls(server: "Server") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(server.url + "/calls", timeout=60).json()
    return found


def _answered(server: "Server") -> int:
    """How many prompts the server has answered so far."""
    for line in requests.get(server.url + "/metrics", timeout=60).text.splitlines():
        if line.startswith('captioner_prompts_total{outcome="answered"}'):
            return round(float(line.split()[-1]))
    raise RuntimeError("The server's metrics don't say how many prompts it answered.")


def _wait(reached: Callable[[], bool]) -> None:
    while not reached():
        time.sleep(0.05)
