"""Start-up time by phase, from the start of the process to the first caption."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from rich.table import Table

from bench.models import add_model_option, model_folder
from bench.workloads import FOLDER, broadcast

if TYPE_CHECKING:
    from bench.run import Run

Phases = dict[str, tuple[float, float]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")


def measure(run: "Run") -> None:
    """Start the app again and again, each time in a fresh process; files are in the system's cache after the first."""
    rounds, warm_up = (1, 0) if run.quick else (run.options.rounds, 1)
    run.settings["model"] = run.options.model
    folder = model_folder(run.options.model)
    mmif = broadcast(1, 0, quick=run.quick).mmif()
    starts: list[Phases] = []
    for turn in run.steps(range(-warm_up, rounds), "starts"):
        phases = _start(str(folder), mmif)
        if turn >= 0:
            starts.append(phases)
    table = Table(title=f"seconds from the start of the process ({run.options.model}): medians")
    for column in ("phase", "begins", "ends", "takes"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for name in starts[0]:
        begin, end = (statistics.median(phases[name][side] for phases in starts) for side in (0, 1))
        table.add_row(name, f"{begin:.2f}", f"{end:.2f}", f"{end - begin:.2f}")
        run.record(name.replace(" ", "_"), [phases[name][1] - phases[name][0] for phases in starts], "s", "less")
    whole = run.record("first_caption_at", [phases["all"][1] for phases in starts], "s", "less").interval
    run.show(table)
    run.show(f"The first caption is there after {whole.value:.1f} s ({whole.low:.1f}-{whole.high:.1f}).")
    _plot(run, starts[-1])


def _start(folder: str, mmif: str) -> Phases:
    log = FOLDER / "startup.log"
    environment = {**os.environ, "CAPTIONER_MODEL": folder, "CAPTIONER_KV_CACHE_GIB": "0.5"}
    with log.open("w") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "bench.startup_probe"],
            input=mmif,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment,
            check=False,
        )
    if ended.returncode:
        raise RuntimeError(f"The app did not start; see {log}.")
    phases: Phases = json.loads(ended.stdout.splitlines()[-1])
    return dict(sorted(phases.items(), key=lambda phase: phase[1]))


def _plot(run: "Run", phases: Phases) -> None:
    with run.plot("phases", height=3.2) as axes:
        names = [name for name in phases if name != "all"]
        for place, name in enumerate(names):
            begin, end = phases[name]
            axes.barh(place, max(end - begin, 0.05), left=begin, color="#0072B2")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("seconds since the process began")
        axes.set_title(f"One start ({run.options.model})")
