"""
A call of one prompt: how long does it take beside a backfill, against how long while the server is idle?

The backfill keeps as many prompts in flight as ``backfill.py --server`` does, in the background as that one sends them
(``X-Priority: background``), and then at normal priority, as a caller who says nothing. All three take turns. There is
a pause between calls, so that each finds the backfill at full speed, and not what the call before has left of it. What
the backfill gets done meanwhile is shown, too: nobody may stand still.
"""

import argparse
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import requests
from rich.table import Table

from bench.models import add_model_option, kv_cache_gib, model_folder
from bench.samples import percentile
from bench.workloads import broadcast

if TYPE_CHECKING:
    from bench.run import Run
    from bench.server import Server

ROUNDS = 4
CALLS = 15  # in each round
PAUSE_SECONDS = 0.3  # between two of them; the backfill does several prompts in it
BODIES = 100
PROMPTS = 400  # of one call of the backfill, which is made over and over
IN_FLIGHT = 16
TARGET = 1.5
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
    """Call the server while it is idle, beside a backfill in the background, and beside one that isn't."""
    options = run.options
    rounds, calls = (1, 3) if run.quick else (options.rounds, options.calls)
    run.settings |= {"model": options.model, "rounds": rounds, "calls": calls, "in_flight": options.in_flight}
    folder = model_folder(options.model)
    server = run.engines.server(model=str(folder), kv_cache_gib=kv_cache_gib(folder))
    bodies = [broadcast(1, turn, quick=run.quick).mmif() for turn in range(4 if run.quick else BODIES)]
    backfill = broadcast(40 if run.quick else PROMPTS, 0, quick=run.quick).mmif()
    latencies: dict[str, list[float]] = {name: [] for name in BESIDE}
    done: dict[str, list[float]] = {name: [] for name in BESIDE}
    _ask(server, bodies[0])
    for number in run.steps(range(rounds), "rounds"):
        for name, priority in BESIDE.items():
            with _backfill(server, backfill, priority, options.in_flight):
                before, began = _answered(server), time.perf_counter()
                taken = []
                for call in range(calls):
                    time.sleep(PAUSE_SECONDS)
                    taken.append(_ask(server, bodies[(number * calls + call) % len(bodies)]))
                done[name].append((_answered(server) - before - calls) / (time.perf_counter() - began))
            latencies[name] += taken
    _report(run, latencies, done)


def _report(run: "Run", latencies: dict[str, list[float]], done: dict[str, list[float]]) -> None:
    table = Table(title=f"seconds that a call of one prompt takes ({run.options.model}); target: {TARGET} times idle")
    for column in ("beside", "median", "90%", "longest", "times idle", "prompts/s of the backfill"):
        table.add_column(column, justify="left" if column == "beside" else "right")
    idle = percentile(latencies["idle"], 0.5)
    for name, taken in latencies.items():
        median = percentile(taken, 0.5)
        run.record(f"{name}.latency", taken, "s", "less")
        run.record(f"{name}.ratio", median / idle, "x", "less")
        run.record(f"{name}.backfill", done[name], "prompts/s", "more")
        words = "nothing" if name == "idle" else f"{run.options.in_flight} prompts in flight, {name}"
        rate = "" if name == "idle" else f"{percentile(done[name], 0.5):.1f}"
        table.add_row(
            words, f"{median:.3f}", f"{percentile(taken, 0.9):.3f}", f"{max(taken):.3f}", f"{median / idle:.2f}", rate
        )
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
