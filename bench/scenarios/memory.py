"""
Peak memory of the server, its engine included, against the size of a call.

And the seconds that the call takes, which are not to grow faster than it does.
"""

import argparse
import threading
import time
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders.http import call, captions
from bench.models import add_model_option, kv_cache_gib, model_folder
from bench.server import Server
from bench.workloads import uniform

if TYPE_CHECKING:
    from bench.run import Run

SAMPLE_SECONDS = 0.2
MIB = 1024**2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    parser.add_argument("--parallel", type=int, default=16, help="parallelPrompts [default: 16]")


def measure(run: "Run") -> None:
    """Send ever larger calls to one server."""
    sizes = (4, 16) if run.quick else (10, 100, 1000, 3000)
    run.settings |= {"model": run.options.model, "parallel": run.options.parallel}
    folder = model_folder(run.options.model)
    server = run.engines.server(model=str(folder), kv_cache_gib=kv_cache_gib(folder))
    idle = server.memory
    table = Table(title=f"memory of server and engine, PSS, MiB ({run.options.model}); idle {idle / MIB:.0f}")
    for column in ("TimeFrames", "MMIF in, KiB", "peak", "over idle", "after", "call, s"):
        table.add_column(column, justify="right")
    run.record("idle", idle / MIB, "MiB", "less")
    peaks = []
    for size in run.steps(sizes, "calls"):
        mmif = uniform(size, 0, frames=1, tokens=8, quick=run.quick).mmif().encode()
        peak, seconds = _peak_during(server, mmif, size, run.options.parallel)
        after = server.memory
        run.record(f"peak.{size}", peak / MIB, "MiB", "less")
        run.record(f"after.{size}", after / MIB, "MiB", "less")
        run.record(f"seconds.{size}", seconds, "s", "less")
        peaks.append(peak / MIB)
        table.add_row(
            str(size),
            f"{len(mmif) / 1024:.0f}",
            f"{peak / MIB:.0f}",
            f"{(peak - idle) / MIB:.0f}",
            f"{after / MIB:.0f}",
            f"{seconds:.1f}",
        )
    run.show(table)
    with run.plot("peaks") as axes:
        axes.plot(sizes, peaks, marker="o")
        axes.axhline(idle / MIB, linestyle="--", color="#555555", label="idle")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("TimeFrames in a call")
        axes.set_ylabel("MiB")
        axes.set_title(f"Peak memory of server and engine ({run.options.model})")
        axes.legend()


def _peak_during(server: Server, mmif: bytes, size: int, parallel: int) -> tuple[int, float]:
    """Return the most bytes that were held during a call, and the seconds that it took."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, server.memory)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        answer = call(server.url, mmif, parallelPrompts=parallel, maxNewTokens=8)
        seconds = time.perf_counter() - began
    finally:
        done.set()
        watcher.join()
    if (found := len(captions(answer))) != size:
        raise RuntimeError(f"{found} captions of {size}")
    return max(peak, server.memory), seconds
