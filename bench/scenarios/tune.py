"""
Search settings for the machine at hand, within a time budget, and print those that are worth it.

One setting after the other is changed, and measured in turns with the best so far, both engines loaded; a change is
kept only where it gains more than noise. Last, what was found is measured in turns with the defaults, and that is the
gain printed. It holds for the model and the resolution that were searched with: by default, the demonstration model's.
"""

import argparse
import os
import time
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders import Remote
from bench.contenders.engine import AppEngine
from bench.models import (
    add_dtype_option,
    add_model_option,
    add_resolution_option,
    kv_cache_gib,
    longest_edge,
    model_folder,
)
from bench.samples import median_interval, ratio_of_neighbours, verdict
from bench.workloads import mixed

if TYPE_CHECKING:
    from pathlib import Path

    from bench.run import Run

Choice = dict[str, str]  # by variable; parallelPrompts among them

PARALLEL = "parallelPrompts"
BATCHED, SEQUENCES, THREADS = "CAPTIONER_MAX_BATCHED_TOKENS", "CAPTIONER_MAX_SEQS", "OMP_NUM_THREADS"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    add_dtype_option(parser)
    add_resolution_option(parser, "default")
    parser.add_argument("--minutes", type=float, default=20, help="that the search may take [default: 20]")
    parser.add_argument("--prompts", type=int, default=40, help="captions in a round [default: 40]")
    parser.add_argument("--rounds", type=int, default=6, help="of each comparison [default: 6]")


def candidates(cores: int, quick: bool = False) -> list[tuple[str, list[str]]]:
    """Return what is tried, in this order: first what costs no new engine."""
    if quick:
        return [(PARALLEL, ["8"])]
    threads = sorted({1, max(1, cores // 2), max(1, cores - 1), cores})
    return [
        (PARALLEL, ["4", "8", "16", "32", "64"]),
        (THREADS, [str(number) for number in threads]),
        (BATCHED, ["1024", "4096", "8192", "16384"]),
        (SEQUENCES, ["8", "16", "32", "128"]),
    ]


class Search:
    """
    The search, one comparison after the other.

    :param until: by ``time.monotonic()``, when no further comparison begins
    """

    def __init__(self, run: "Run", folder: "Path", until: float) -> None:
        self._run = run
        self._folder = folder
        self._edge = longest_edge(folder, run.options.resolution)
        self._until = until
        self._turn = 0
        self._engines: dict[str, Remote] = {}
        self.best: Choice = {}
        self.tried: list[tuple[str, str, str]] = []

    def go(self) -> None:
        """Try the candidates until they or the time are used up."""
        for variable, values in candidates(os.cpu_count() or 1, self._run.quick):
            for value in values:
                if time.monotonic() > self._until:
                    self.tried.append((f"{variable}={value}", "", "no time left"))
                    continue
                self._try({**self.best, variable: value}, f"{variable}={value}")
            self._end_engines(but=[self.best])

    def gain(self) -> tuple[float, ...]:
        """Measure the best against the defaults, in turns; the ratios of each round."""
        return self._compare(self.best, {}) if self.best else (1.0,)

    def close(self) -> None:
        """End the engines."""
        self._end_engines(but=[])

    def _try(self, choice: Choice, words: str) -> None:
        ratio = median_interval(self._compare(choice, self.best))
        said = verdict(ratio, "more")
        if said == "better":
            self.best = choice
        self.tried.append((words, f"{ratio.value:.3f} ({ratio.low:.3f}-{ratio.high:.3f})", said))
        self._end_engines(but=[self.best, choice])

    def _compare(self, choice: Choice, other: Choice) -> tuple[float, ...]:
        names = {"new": choice, "old": other}
        taken = self._run.take_turns(
            {name: lambda which=which: self._speed(which) for name, which in names.items()},  # type: ignore[misc]
            self._run.options.rounds,
        )
        return ratio_of_neighbours(taken["new"], taken["old"])

    def _speed(self, choice: Choice) -> float:
        self._turn += 1
        workload = mixed(self._run.options.prompts, self._turn, longest_edge=self._edge, quick=self._run.quick)
        spent = self._engine(choice).caption(workload, int(choice.get(PARALLEL, 1)))
        return spent.captions / spent.seconds

    def _engine(self, choice: Choice) -> Remote:
        key = _key(choice)
        if key not in self._engines:
            environment = {name: value for name, value in choice.items() if name != PARALLEL}
            self._engines[key] = Remote(
                AppEngine,
                environment,
                folder=str(self._folder),
                dtype=self._run.options.dtype,
                kv_cache_gib=kv_cache_gib(self._folder),
            )
        return self._engines[key]

    def _end_engines(self, but: list[Choice]) -> None:
        kept = {_key(choice) for choice in but}
        for key in [key for key in self._engines if key not in kept]:
            self._engines.pop(key).close()


def measure(run: "Run") -> None:
    """Search, and print what was found."""
    if run.quick:
        run.options.prompts, run.options.rounds, run.options.minutes, run.options.resolution = 6, 5, 1, "tile"
    folder = model_folder(run.options.model)
    search = Search(run, folder, time.monotonic() + 60 * run.options.minutes)
    try:
        search.go()
        gain = run.record("gain", search.gain(), "x", "more").interval
    finally:
        search.close()
    resolution = run.options.resolution
    run.settings |= {"model": run.options.model, "resolution": resolution, "best": search.best}
    frames = "frames at default resolution" if resolution == "default" else "frames of one tile"
    title = f"settings for this machine ({run.options.model}, {frames})"
    table = Table("tried", "against the best so far", "verdict", title=title)
    for row in search.tried:
        table.add_row(*row)
    run.show(table)
    run.show(paste(search.best))
    run.show(
        f"Against the defaults: {gain.value:.2f} times as many captions a second ({gain.low:.2f}-{gain.high:.2f})."
    )


def paste(best: Choice) -> str:
    """Return settings as a shell takes them, and what callers are to ask for."""
    if not best:
        return "Nothing was better than the defaults beyond noise: leave them."
    lines = [f"export {name}={value}" for name, value in best.items() if name != PARALLEL]
    if PARALLEL in best:
        lines.append(f"# and in calls: ?parallelPrompts={best[PARALLEL]}")
    return "\n".join(lines)


def _key(choice: Choice) -> str:
    return str(sorted((name, value) for name, value in choice.items() if name != PARALLEL))
