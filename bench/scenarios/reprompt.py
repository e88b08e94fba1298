"""
A second question over the same frames, against the first: vLLM keeps what it has read of them.

Frames stand before the question in a prompt, so their part of it, the encoder's work included, is found again.
"""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders import Spent
from bench.contenders.engine import answer, requests_of
from bench.models import add_dtype_option, add_model_option, kv_cache_gib, model_folder, tile_edge
from bench.workloads import uniform

if TYPE_CHECKING:
    from bench.run import Run

SECOND = "Which colours are to be seen? Answer in one word."
QUESTIONS = ("first", "second, same frames", "second, fresh frames")
FRAMES, TOKENS = 3, 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    add_dtype_option(parser)
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
    spent: dict[str, list[Spent]] = {question: [] for question in QUESTIONS}
    for turn in run.steps(range(-1, run.options.rounds), "two questions"):
        asked = uniform(count, 3 * turn + 3, frames=FRAMES, tokens=TOKENS, longest_edge=edge, quick=run.quick)
        fresh = uniform(count, 3 * turn + 4, frames=FRAMES, tokens=TOKENS, longest_edge=edge, quick=run.quick)
        questions = (asked, replace(asked, text=SECOND), replace(fresh, text=SECOND))
        for question, workload in zip(QUESTIONS, questions, strict=True):
            taken = answer(engine, requests_of(workload), count)
            if turn >= 0:
                spent[question].append(taken)
    _show(run, spent)


def _show(run: "Run", spent: dict[str, list[Spent]]) -> None:
    first, same, fresh = spent.values()
    table = Table(title=f"{run.options.prompts} prompts of {FRAMES} frames, {TOKENS} tokens each ({run.options.model})")
    for column in ("question", "seconds", "against fresh frames", "prompt tokens computed", "against the first"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for question, rounds in spent.items():
        name = question.replace(", ", ".").replace(" ", "_")
        seconds = run.record(name, [one.seconds for one in rounds], "s", "less").interval
        computed = run.record(f"{name}.computed", [_computed(one) for one in rounds], "tokens", "less").interval
        shares = ["", ""]
        if rounds is same:
            slower = [one.seconds / two.seconds for one, two in zip(same, fresh, strict=True)]
            more = [_computed(one) / _computed(two) for one, two in zip(same, first, strict=True)]
            ratios = {"same_over_fresh": slower, "computed_over_first": more}
            found = [run.record(ratio, samples, "x", "less").interval for ratio, samples in ratios.items()]
            shares = [f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" for ratio in found]
        taken = f"{seconds.value:.3f} ({seconds.low:.3f}-{seconds.high:.3f})"
        table.add_row(question, taken, shares[0], f"{computed.value:.0f}", shares[1])
    run.show(table)


def _computed(spent: Spent) -> int:
    return spent.prompt_tokens - spent.cached_tokens
