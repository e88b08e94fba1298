"""
Many calls to one server: do memory, threads and descriptors stay what they are?

The same call of one prompt is made over and over by several clients. After the first third, in which caches fill,
memory may not rise by more than noise (a line is fitted), nor threads and descriptors by more than a few.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from bench.run import Run

CALLS = 2000
QUICK_CALLS = 24
CLIENTS = 8
MIB = 1024**2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the scenario's options."""
    parser.add_argument("--calls", type=int, default=0, help=f"[default: {CALLS}, or {QUICK_CALLS} if quick]")


def measure(run: "Run") -> None:
    """
    Make the calls.

    :raises RuntimeError: if something is more at the end than it was
    """
    from bench.calls import slate
    from bench.soak import Soak

    calls = run.options.calls or (QUICK_CALLS if run.quick else CALLS)
    run.settings.update(calls=calls, clients=CLIENTS)
    with tempfile.TemporaryDirectory() as name, run.engines.own_server(Path(name) / "log", quick=run.quick) as server:
        soak = Soak(server, slate(Path(name)), CLIENTS)
        soak.run(calls, lambda stretches: run.steps(stretches, f"{calls} calls"))
    table = Table(title="after so many calls")
    for column in ("calls", "server, MiB", "engine, MiB", "threads", "descriptors"):
        table.add_column(column, justify="right")
    for sample in soak.samples[:: max(1, len(soak.samples) // 10)]:
        memory = (f"{sample.server_bytes / MIB:.0f}", f"{sample.engine_bytes / MIB:.0f}")
        table.add_row(str(sample.calls), *memory, str(sample.threads), str(sample.descriptors))
    run.show(table)
    run.record("server_memory", [sample.server_bytes / MIB for sample in soak.samples], "MiB", "less", rounds=1)
    run.record("engine_memory", [sample.engine_bytes / MIB for sample in soak.samples], "MiB", "less", rounds=1)
    run.record("threads", [sample.threads for sample in soak.samples], "threads", "less", rounds=1)
    run.record("descriptors", [sample.descriptors for sample in soak.samples], "descriptors", "less", rounds=1)
    if not run.quick and (grown := soak.growth()):
        raise RuntimeError("; ".join(grown))
