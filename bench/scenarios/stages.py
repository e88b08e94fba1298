"""
Where a caption's time goes, how well the stages overlap, and what share of the machine's own limits each reaches.

The limits are measured in the same run: a large bfloat16 matrix product for encoder and prefill, reading memory for the
writing of tokens. What each stage has to compute or read is counted (see `bench/cost.py`), not measured.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil
from rich.table import Table

from bench.contenders.engine import answer, requests_of
from bench.geometry import Geometry, geometry_of
from bench.models import add_dtype_option, add_model_option, kv_cache_gib, model_folder, tile_edge
from bench.samples import percentile
from bench.tracing import STAGES, Trace, traced
from bench.workloads import Workload, broadcast, mixed, uniform

if TYPE_CHECKING:
    from app import SmolVLM2Captioner
    from bench.run import Run

FRAMES, TOKENS = 3, 40  # of each prompt, where the model does not end captions by itself
TILES = 16  # what the encoder's cache surely holds
STEPS = 48


@dataclass(frozen=True)
class _Used:
    """Seconds that something took, and of the processors in the app's process and in the engine's."""

    seconds: float
    app: float
    engine: float

    @property
    def cores(self) -> float:
        """How many were busy."""
        return (self.app + self.engine) / self.seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    add_dtype_option(parser)
    parser.add_argument("--prompts", type=int, default=24, help="captions in a round [default: 24]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")
    parser.add_argument("--parallel", type=int, default=8, help="parallelPrompts [default: 8]")


def measure(run: "Run") -> None:
    """Measure whole calls, stages by themselves, and limits."""
    if run.quick:
        run.options.prompts, run.options.rounds = 6, 1
    folder = model_folder(run.options.model)
    edge = tile_edge(folder)
    run.settings |= {"model": run.options.model, "prompts": run.options.prompts, "longest_edge": edge}
    captioner = run.engines.captioner(model=str(folder), dtype=run.options.dtype, kv_cache_gib=kv_cache_gib(folder))
    _overlap(run, captioner, edge)
    _shares(run, captioner, geometry_of(folder), edge)


def _round(run: "Run", turn: int, edge: int) -> Workload:
    count = run.options.prompts
    if run.options.model == "demo":
        return broadcast(count, turn, longest_edge=edge, quick=run.quick)
    return uniform(count, turn, frames=FRAMES, tokens=TOKENS, longest_edge=edge, quick=run.quick)


def _overlap(run: "Run", captioner: "SmolVLM2Captioner", edge: int) -> None:
    """Time calls and their stages by themselves, in turns."""
    # Each has a video's frames one after the other: calls read them unmarked, and come back to the first ones late.
    turns = {stage: itertools.count() for stage in ("mmif", "reading", "engine", "call")}
    traces: list[list[Trace]] = []  # call by call
    used: dict[str, list[_Used]] = {stage: [] for stage in turns}

    def timed(stage: str, do: Callable[[], object]) -> float:
        before, began = _cpu_seconds(), time.perf_counter()
        do()
        seconds = time.perf_counter() - began
        app, engine = (after - earlier for after, earlier in zip(_cpu_seconds(), before, strict=True))
        used[stage].append(_Used(seconds, app, engine))
        return seconds

    def mmif() -> float:
        return annotate("mmif", tfLabels=["of no TimeFrame"])

    def reading() -> float:
        workload = _round(run, next(turns["reading"]), edge)
        return timed("reading", workload.images)

    def engine() -> float:
        requests = requests_of(_round(run, next(turns["engine"]), edge))
        return timed("engine", lambda: answer(captioner.engine, requests, run.options.parallel))

    def call() -> float:
        with traced(captioner.engine) as seen:
            seconds = annotate("call")
        traces.append(seen)
        return seconds

    def annotate(stage: str, **parameters: list[str]) -> float:
        workload = _round(run, next(turns[stage]), edge)
        document = workload.mmif()
        parameters |= {
            "maxNewTokens": [str(workload.prompts[0].tokens)],
            "parallelPrompts": [str(run.options.parallel)],
            "longestEdge": [str(edge)],
        }
        return timed(stage, lambda: captioner.annotate(document, **parameters))

    stages = {"mmif": mmif, "reading": reading, "engine": engine, "call": call}
    rounds = run.options.rounds
    run.take_turns(stages, rounds)
    # Without those of the warm-up.
    _show_overlap(run, {stage: every[-rounds:] for stage, every in used.items()})
    _show_traces(run, traces[-rounds:])


def _show_overlap(run: "Run", used: dict[str, list[_Used]]) -> None:
    """Record and show seconds, whose processor time they took, and how many cores were busy meanwhile."""
    taken = {stage: [each.seconds for each in every] for stage, every in used.items()}
    longest = [max(pair) for pair in zip(taken["reading"], taken["engine"])]
    ratios = [over / under for over, under in zip(taken["call"], longest)]
    overlap = run.record("call_over_longest_stage", ratios, "x", "less").interval
    table = Table(
        title=f"a call of {run.options.prompts} prompts, {run.options.parallel} in flight ({run.options.model})"
    )
    for column in ("", "MMIF alone", "reading frames alone", "engine alone", "whole call", "call / longest stage"):
        table.add_column(column, justify="right" if column else "left")
    rows: dict[str, list[str]] = {"time": [], "CPU time, app": [], "CPU time, engine's process": [], "cores busy": []}
    for name, samples in taken.items():
        found = (
            run.record(name, samples, "s", "less"),
            run.record(f"cpu.{name}.app", [each.app for each in used[name]], "s", "less"),
            run.record(f"cpu.{name}.engine", [each.engine for each in used[name]], "s", "less"),
            run.record(f"cores.{name}", [each.cores for each in used[name]], "cores"),
        )
        for cells, figure in zip(rows.values(), found, strict=True):
            value = figure.interval.value
            cells.append(f"{value:.2f}" if figure.unit == "cores" else f"{value:.3f} s")
    rows["time"].append(f"{overlap.value:.3f} ({overlap.low:.3f}-{overlap.high:.3f})")
    for title, cells in rows.items():
        table.add_row(title, *cells)
    run.show(table)


def _cpu_seconds() -> tuple[float, float]:
    """Return the seconds of CPU that this process has used, and those of its children, which are the engine's."""
    process = psutil.Process()
    own, *children = (each.cpu_times() for each in (process, *process.children(recursive=True)))
    return own.user + own.system, sum(each.user + each.system for each in children)


def _show_traces(run: "Run", calls: list[list[Trace]]) -> None:
    """Record and show how long prompts were in each stage; the last call is drawn."""
    table = Table(title="a prompt's way through the engine, beside others: median and 90th percentile")
    for column in ("stage", "median, s", "90 %, s"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in STAGES:
        samples = [trace.stages[stage] for traces in calls for trace in traces]
        run.record(f"prompt.{stage.replace(' ', '_')}", samples, "s", "less", rounds=len(calls))
        table.add_row(stage, f"{statistics.median(samples):.3f}", f"{percentile(samples, 0.9):.3f}")
    run.show(table)
    with run.plot("prompts", width=8, height=4.5) as axes:
        last = sorted(calls[-1], key=lambda trace: trace.taken)
        start = last[0].taken
        for stage_number, stage in enumerate(STAGES):
            lengths = [trace.stages[stage] for trace in last]
            lefts = [trace.taken - start + sum(list(trace.stages.values())[:stage_number]) for trace in last]
            axes.barh(range(len(last)), lengths, left=lefts, label=stage)
        axes.invert_yaxis()
        axes.set_xlabel("seconds since the first prompt was taken")
        axes.set_ylabel("prompt")
        axes.set_title(f"The prompts of one call, {run.options.parallel} in flight ({run.options.model})")
        axes.legend(fontsize="small")


def _shares(run: "Run", captioner: "SmolVLM2Captioner", geometry: Geometry, edge: int) -> None:
    """Time encoder, prefill and decode by themselves, and hold them against the limits."""
    from bench import cost
    from bench.limits import limits

    machine = limits()
    run.record("limit.products", machine.flops / 1e9, "GFLOP/s", "more")
    run.record("limit.memory", machine.bandwidth / 1e9, "GB/s", "more")
    alone = _alone(run, captioner, edge)
    tokens = alone.pop("tokens")[0]
    medians = {name: statistics.median(samples) for name, samples in alone.items()}
    counted = {
        "encoder": TILES * cost.encoder_flops(geometry) / machine.flops,
        "prefill": TILES * cost.prefill_flops(geometry, tokens) / machine.flops,
        "decode": STEPS * cost.decode_bytes(geometry, TILES, tokens + STEPS / 2) / machine.bandwidth,
    }
    table = Table(title=f"{TILES} prompts of one tile: stages by themselves, against this machine's limits")
    for column in ("stage", "measured, s", "at the limit, s", "share of the limit"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, least in counted.items():
        run.record(f"alone.{stage}", alone[stage], "s", "less")
        if min(alone[stage]) <= 0:  # a difference of two times, each of them larger than what is sought
            table.add_row(stage, f"{medians[stage]:.3f}", f"{least:.3f}", "too small to tell")
            continue
        share = run.record(f"share.{stage}", [least / sample for sample in alone[stage]], "x", "more").interval
        table.add_row(
            stage, f"{medians[stage]:.3f}", f"{least:.3f}", f"{share.value:.0%} ({share.low:.0%}-{share.high:.0%})"
        )
    run.show(table)
    with run.plot("shares", width=6) as axes:
        bottom = 0.0
        for stage in counted:
            axes.bar(["measured"], [medians[stage]], bottom=bottom, label=stage)
            bottom += medians[stage]
        axes.set_prop_cycle(None)
        bottom = 0.0
        for least in counted.values():
            axes.bar(["at the machine's limit"], [least], bottom=bottom)
            bottom += least
        axes.set_ylabel("seconds")
        axes.set_title(f"{TILES} prompts of one tile, {STEPS} tokens each ({run.options.model})")
        axes.legend()
    if run.options.model != "demo" and min(map(min, alone.values())) > 0:
        _predict(run, captioner, geometry, edge, machine, medians, counted)


def _alone(run: "Run", captioner: "SmolVLM2Captioner", edge: int) -> dict[str, list[float]]:
    """
    Return seconds of the encoder, of the prefill and of the writing of ``STEPS`` tokens, and a prompt's tokens.

    Prompts over fresh frames take all three. With another system prompt in front, the same frames are read again, but
    not encoded: vLLM keeps what it has encoded.
    """
    found: dict[str, list[float]] = {"encoder": [], "prefill": [], "decode": [], "tokens": []}
    for turn in run.steps(range(-1, run.options.rounds), "stages by themselves"):
        workload = uniform(TILES, 500 + turn, frames=1, tokens=1, longest_edge=edge, quick=run.quick)
        requests = requests_of(workload)
        fresh = answer(captioner.engine, requests, TILES)
        again = answer(captioner.engine, [_with_system_prompt(request, "Again.", 1) for request in requests], TILES)
        long = answer(
            captioner.engine, [_with_system_prompt(request, "Longer.", 1 + STEPS) for request in requests], TILES
        )
        if turn >= 0:
            found["encoder"].append(fresh.seconds - again.seconds)
            found["prefill"].append(again.seconds)
            found["decode"].append(long.seconds - again.seconds)
            found["tokens"].append(again.prompt_tokens / TILES)
    return found


def _with_system_prompt(request: Any, text: str, tokens: int) -> Any:
    sampling = request.sampling.clone()
    sampling.max_tokens = tokens
    turns = [[{"role": "system", "content": text}, *request.turns[0]]]
    return replace(request, turns=turns, sampling=sampling)


def _predict(
    run: "Run",
    captioner: "SmolVLM2Captioner",
    geometry: Geometry,
    edge: int,
    machine: Any,
    medians: dict[str, float],
    counted: dict[str, float],
) -> None:
    """Hold the cost model, with the shares just found, against another workload: what `capacity` leans on."""
    from bench import cost

    shares = cost.Shares(**{stage: counted[stage] / medians[stage] for stage in counted})
    samples = []
    for turn in run.steps(range(900, 900 + run.options.rounds), "the mixed workload, for the cost model"):
        workload = mixed(run.options.prompts, turn, longest_edge=edge, quick=run.quick)
        spent = answer(captioner.engine, requests_of(workload), run.options.parallel)
        mean = cost.Caption(
            spent.images / spent.captions,
            spent.prompt_tokens / spent.captions,
            spent.completion_tokens / spent.captions,
        )
        samples.append(
            cost.seconds(geometry, mean, machine, shares, run.options.parallel) * spent.captions / spent.seconds
        )
    ratio = run.record("predicted_over_measured", samples, "x").interval
    run.show(
        "The cost model with these shares predicts for the mixed workload "
        f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f}) times the seconds that it takes."
    )
