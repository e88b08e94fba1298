"""
A second question over the same frames, against the first: vLLM keeps what it has read of them.

Frames stand before the question in a prompt, so their part of it, the encoder's work included, is found again.
"""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders.engine import answer, requests_of
from bench.models import HELP, kv_cache_gib, model_folder, tile_edge
from bench.workloads import uniform

if TYPE_CHECKING:
    from bench.run import Run

SECOND = "Which colours are to be seen? Answer in one word."
FRAMES, TOKENS = 3, 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--model", default="demo", help=f"{HELP} [default: demo]")
    parser.add_argument("--dtype", default="bfloat16", help="number type of the weights [default: bfloat16]")
    parser.add_argument("--prompts", type=int, default=16, help="captions in a round [default: 16]")
    parser.add_argument("--rounds", type=int, default=6, help="[default: 6]")


def measure(run: "Run") -> None:
    """Ask about fresh frames, then again about the same, then again about fresh ones."""
    if run.quick:
        run.options.prompts, run.options.rounds = 6, 1
    folder = model_folder(run.options.model)
    edge = tile_edge(folder)
    engine = run.engines.captioner(model=str(folder), dtype=run.options.dtype, kv_cache_gib=kv_cache_gib(folder)).engine
    run.settings |= {"model": run.options.model, "prompts": run.options.prompts, "longest_edge": edge}
    count = run.options.prompts
    first: list[float] = []
    second: list[float] = []
    other: list[float] = []
    for turn in run.steps(range(-1, run.options.rounds), "two questions"):
        asked = uniform(count, 3 * turn + 3, frames=FRAMES, tokens=TOKENS, longest_edge=edge, quick=run.quick)
        fresh = uniform(count, 3 * turn + 4, frames=FRAMES, tokens=TOKENS, longest_edge=edge, quick=run.quick)
        taken = [answer(engine, requests_of(one), count).seconds for one in (asked, replace(asked, text=SECOND))]
        taken.append(answer(engine, requests_of(replace(fresh, text=SECOND)), count).seconds)
        if turn >= 0:
            for samples, seconds in zip((first, second, other), taken):
                samples.append(seconds)
    table = Table(title=f"{count} prompts of {FRAMES} frames, {TOKENS} tokens each ({run.options.model})")
    for column in ("question", "seconds", "against fresh frames"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for name, samples in (("first", first), ("second, same frames", second), ("second, fresh frames", other)):
        interval = run.record(name.replace(", ", ".").replace(" ", "_"), samples, "s", "less").interval
        share = ""
        if samples is second:
            ratio = run.record("same_over_fresh", [one / two for one, two in zip(second, other)], "x", "less").interval
            share = f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
        table.add_row(name, f"{interval.value:.3f} ({interval.low:.3f}-{interval.high:.3f})", share)
    run.show(table)
