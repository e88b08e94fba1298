"""
Captions that are held to a JSON Schema, and choices, against captions that are free; and what a schema costs by itself.

All answers have the same number of tokens: free ones go on after their end, and the schema is one that can't be
fulfilled sooner. So what is told apart is the masking, not the length of what is said.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders.engine import answer, requests_of
from bench.models import add_dtype_option, add_model_option, model_folder, tile_edge
from bench.workloads import uniform

if TYPE_CHECKING:
    from bench.run import Run

LONG = '{"type": "string", "minLength": 2000, "maxLength": 2000}'
CHOICES = ("slate", "chyron", "credits", "bars", "programme")
TOKENS = 64


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    add_dtype_option(parser)
    parser.add_argument("--prompts", type=int, default=32, help="captions in a round [default: 32]")
    parser.add_argument("--at-once", type=int, default=16, help="of them in flight [default: 16]")
    parser.add_argument("--rounds", type=int, default=6, help="[default: 6]")


def measure(run: "Run") -> None:
    """Let free captions, captions under a schema and choices take turns, then time what a schema costs once."""
    if run.quick:
        run.options.prompts, run.options.rounds = 6, 1
    _measure_throughput(run)
    _measure_schemas(run)


def _measure_throughput(run: "Run") -> None:
    from sampling.schema import Schema

    folder = model_folder(run.options.model)
    edge, count = tile_edge(folder), run.options.prompts
    engine = run.engines.captioner(model=str(folder), dtype=run.options.dtype).engine
    run.settings |= {"model": run.options.model, "prompts": count, "tokens": TOKENS, "longest_edge": edge}
    grammar, turn = Schema.of(LONG).grammar, iter(range(10**6))

    def contender(tokens: bool, **form: object) -> Callable[[], float]:
        def once() -> float:
            workload = uniform(count, next(turn), frames=1, tokens=TOKENS, longest_edge=edge, quick=run.quick)
            requests = [replace(request, **form) for request in requests_of(workload)]  # type: ignore[arg-type]
            spent = answer(engine, requests, run.options.at_once)
            return float(spent.completion_tokens if tokens else spent.captions) / spent.seconds

        return once

    samples = run.take_turns(
        {
            "free": contender(True),
            "schema": contender(True, grammar=grammar),
            "choices": contender(False, choices=CHOICES),
            "odds": contender(False, choices=CHOICES, confidence=True),
        },
        run.options.rounds,
    )
    table = Table(title=f"{count} prompts of a frame, {run.options.at_once} in flight ({run.options.model})")
    for column in ("answers", "a second", "against free ones"):
        table.add_column(column, justify="left" if column == "answers" else "right")
    for name, unit in (("free", "tokens/s"), ("schema", "tokens/s"), ("choices", "captions/s"), ("odds", "captions/s")):
        interval = run.record(name, samples[name], unit, "more").interval
        share = ""
        if name == "schema":
            ratio = run.record_ratio("schema_over_free", samples["schema"], samples["free"]).interval
            share = f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
        table.add_row(name, f"{interval.value:.1f} ({interval.low:.1f}-{interval.high:.1f}) {unit}", share)
    run.show(table)


def _measure_schemas(run: "Run") -> None:
    import llguidance
    import llguidance.hf

    from bench.geometry import VOCABULARY, tokenizer
    from captioning.form import shipped, with_schema
    from sampling.schema import Schema

    words = llguidance.hf.from_tokenizer(tokenizer(), VOCABULARY)
    table = Table(title="a schema's own cost, ms: checked once, compiled for each prompt (SmolLM2's vocabulary)")
    for column in ("schema", "check", "compile"):
        table.add_column(column, justify="left" if column == "schema" else "right")
    for name in run.steps(shipped(), "schemas"):
        text = with_schema({"outputSchema": [name]})["outputSchema"][0]
        grammar = llguidance.grammar_from("grammar", Schema.of(text).grammar)
        checks, compilations = [], []
        for turn in range(3 if run.quick else 50):
            fresh = text + " " * turn  # what was checked before is not checked again
            checks.append(_milliseconds(lambda text=fresh: Schema.of(text)))  # type: ignore[misc]
            compilations.append(_milliseconds(lambda g=grammar: llguidance.LLMatcher(words, g)))  # type: ignore[misc]
        run.record(f"check.{name}", checks, "ms", "less", rounds=1)
        run.record(f"compile.{name}", compilations, "ms", "less", rounds=1)
        table.add_row(name, f"{statistics.median(checks):.2f}", f"{statistics.median(compilations):.2f}")
    run.show(table)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)
