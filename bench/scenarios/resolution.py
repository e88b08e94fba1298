"""Throughput against `longestEdge`: what detail costs."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders import Spent
from bench.contenders.engine import answer, requests_of
from bench.models import add_dtype_option, add_model_option, kv_cache_gib, model_folder
from bench.workloads import uniform

if TYPE_CHECKING:
    from bench.run import Run

FRAMES, TOKENS = 1, 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    add_dtype_option(parser)
    parser.add_argument("--prompts", type=int, default=8, help="captions in a round [default: 8]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")


def measure(run: "Run") -> None:
    """Caption the same prompts at every resolution that the model has, in turns."""
    if run.quick:
        run.options.prompts, run.options.rounds = 4, 1
    folder = model_folder(run.options.model)
    engine = run.engines.captioner(model=str(folder), dtype=run.options.dtype, kv_cache_gib=kv_cache_gib(folder)).engine
    run.settings |= {"model": run.options.model, "prompts": run.options.prompts, "frames": FRAMES, "tokens": TOKENS}
    spent: dict[str, list[Spent]] = {}

    def at(edge: int, place: int) -> Callable[[], float]:
        def caption() -> float:
            taken = spent.setdefault(str(edge), [])
            turn = len(taken) * len(engine.context.edges) + place
            workload = uniform(
                run.options.prompts, turn, frames=FRAMES, tokens=TOKENS, longest_edge=edge, quick=run.quick
            )
            taken.append(answer(engine, requests_of(workload), run.options.prompts))
            return taken[-1].captions / taken[-1].seconds

        return caption

    edges = engine.context.edges
    speeds = run.take_turns({str(edge): at(edge, place) for place, edge in enumerate(edges)}, run.options.rounds)
    table = Table(title=f"prompts of one 640x480 frame and {TOKENS} tokens ({run.options.model})")
    for column in ("longestEdge, px", "prompt tokens", "captions/s", "against the model's own"):
        table.add_column(column, justify="right")
    for edge, samples in speeds.items():
        speed = run.record(edge, samples, "captions/s", "more").interval
        ratio = run.record_ratio(f"{edge}_over_own", samples, speeds[str(edges[0])]).interval
        tokens = spent[edge][0].prompt_tokens / spent[edge][0].captions
        table.add_row(
            edge, f"{tokens:.0f}", f"{speed.value:.2f} ({speed.low:.2f}-{speed.high:.2f})", f"{ratio.value:.2f}"
        )
    run.show(table)
    with run.plot("edges") as axes:
        middles = [sorted(samples)[len(samples) // 2] for samples in speeds.values()]
        axes.bar(list(speeds), middles)
        axes.set_xlabel("longestEdge, px")
        axes.set_ylabel("captions/s")
        axes.set_title(f"What detail costs ({run.options.model})")
