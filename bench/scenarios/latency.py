"""
Latency of calls over HTTP against concurrent callers, and against the rate at which calls arrive.

Each call captions one TimeFrame; frames come again when all others have been asked for, and the cache has lost them.
The callers are a process of their own (`bench/load.py`).
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from bench.load import Answered, Load
from bench.models import add_model_option, kv_cache_gib, model_folder
from bench.samples import percentile
from bench.workloads import broadcast, fresh_prompts

if TYPE_CHECKING:
    from bench.run import Run

PERCENTILES = (0.5, 0.9, 0.99)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    parser.add_argument("--calls", type=int, default=200, help="in each row [default: 200]")
    parser.add_argument("--callers", type=_numbers, default=(1, 4, 16, 32), help="closed [default: 1,4,16,32]")
    parser.add_argument(
        "--loads",
        type=_shares,
        default=(0.5, 0.8, 0.95),
        help="open, of the closed calls per second [default: 0.5,0.8,0.95]",
    )


def measure(run: "Run") -> None:
    """Call with ever more callers, then at fixed rates below what those reached."""
    options = run.options
    if run.quick:
        options.calls, options.callers, options.loads = 16, (1, 4), (0.5,)
    run.settings |= {"model": options.model, "calls": options.calls}
    folder = model_folder(options.model)
    server = run.engines.server(model=str(folder), kv_cache_gib=kv_cache_gib(folder))
    bodies = [broadcast(1, turn, quick=run.quick).mmif() for turn in range(4 if run.quick else fresh_prompts())]
    _send(Load(server.url, bodies, 4, callers=4))
    table = Table(title=f"seconds from when a call was due to its answer ({options.model}, one TimeFrame a call)")
    for column in ("callers", "calls/s", *(f"{share:.0%}" for share in PERCENTILES), "longest", "errors"):
        table.add_column(column, justify="left" if column == "callers" else "right")
    most = 0.0
    curves = {}
    for callers in run.steps(options.callers, "closed"):
        answered = _send(Load(server.url, bodies, options.calls, callers=callers))
        most = max(most, len(answered.latencies) / answered.seconds)
        curves[f"{callers} callers"] = answered.latencies
        _enter(run, table, f"closed.{callers}", f"{callers}, each waits for its answer", answered)
    for share in run.steps(options.loads, "open"):
        rate = share * most
        answered = _send(Load(server.url, bodies, options.calls, rate=rate))
        curves[f"arrivals at {share:.0%}"] = answered.latencies
        _enter(run, table, f"open.{share:g}", f"arrivals at {share:.0%} of the most, {rate:.1f}/s", answered)
    run.show(table)
    with run.plot("percentiles") as axes:
        for name, latencies in curves.items():
            ordered = sorted(latencies)
            axes.plot([(place + 1) / len(ordered) for place in range(len(ordered))], ordered, label=name)
        axes.set_yscale("log")
        axes.set_xlabel("share of calls")
        axes.set_ylabel("answered within, s")
        axes.set_title(f"Latency ({options.model}, one TimeFrame a call)")
        axes.legend(fontsize="small")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


def _send(load: Load) -> Answered:
    load.parameters = {"maxNewTokens": "64"}
    ended = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answered = Answered(**json.loads(ended.stdout))
    if not answered.latencies:
        raise RuntimeError(f"No call was answered: {answered.errors[0]}")
    return answered


def _enter(run: "Run", table: Table, name: str, words: str, answered: Answered) -> None:
    rate = run.record(f"{name}.rate", len(answered.latencies) / answered.seconds, "calls/s", "more")
    run.record(f"{name}.latency", answered.latencies, "s", "less", rounds=1)
    run.record(f"{name}.errors", len(answered.errors), "calls", "less")
    cells = []
    for share in PERCENTILES:
        seconds = percentile(answered.latencies, share)
        run.record(f"{name}.latency_{share:g}", seconds, "s", "less")
        cells.append(f"{seconds:.3f}")
    longest = max(answered.latencies)
    table.add_row(words, f"{rate.interval.value:.2f}", *cells, f"{longest:.3f}", str(len(answered.errors)))
