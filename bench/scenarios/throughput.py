"""
Captions per second against `parallelPrompts`, beside vLLM by itself and transformers as the incumbent uses it.

All contenders have the same weights, number type, threads and frames, and are measured in turns. In every round each
reads as many tokens as any other and, where captions have a given length, writes as many, which is checked; only
through HTTP may the model end captions sooner, and then that is said. `http.16` has 16 prompts in flight over all its
calls, of which there is one for each length of captions.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders import Contender, Remote, Spent
from bench.models import (
    add_dtype_option,
    add_model_option,
    add_resolution_option,
    kv_cache_gib,
    longest_edge,
    model_folder,
)
from bench.workloads import WORKLOADS, Workload, mixed, of_mmif

if TYPE_CHECKING:
    from bench.run import Run

WARM_UP = 4  # prompts
CONTENDERS = ("engine", "http", "offline", "transformers")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    add_dtype_option(parser)
    parser.add_argument("--workload", choices=WORKLOADS, default="mixed", help="[default: mixed]")
    parser.add_argument("--mmif", type=Path, nargs="+", help="caption these files instead; not through HTTP")
    parser.add_argument("--prompts", type=int, default=40, help="captions in a round [default: 40]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")
    add_resolution_option(parser, "tile")
    parser.add_argument("--parallel", type=_numbers, default=(1, 2, 4, 8, 16, 32), help="[default: 1,2,4,8,16,32]")
    parser.add_argument("--http-parallel", type=_numbers, default=(16,), help="likewise, through HTTP [default: 16]")
    parser.add_argument("--batches", type=_numbers, default=(1, 4, 8), help="transformers' batches [default: 1,4,8]")
    parser.add_argument("--contenders", type=_names, default=CONTENDERS, help=f"[default: {','.join(CONTENDERS)}]")


def measure(run: "Run") -> None:
    """Let all contenders caption the same prompts in turns."""
    options = run.options
    if run.quick:
        options.prompts, options.rounds = 8, 1
        options.parallel, options.http_parallel, options.batches = (1, 8), (8,), (1, 4)
    if options.mmif:  # the server would read the same frames in every round, and find them in its caches
        options.contenders = tuple(name for name in options.contenders if name != "http")
    folder = model_folder(options.model)
    edge = longest_edge(folder, options.resolution)
    run.settings |= {
        "model": options.model,
        "dtype": options.dtype,
        "workload": "files" if options.mmif else options.workload,
        "prompts": options.prompts,
        "longest_edge": edge,
    }
    remotes = {name: _start(run, name, folder) for name in options.contenders}
    at_once = {
        "engine": options.parallel,
        "http": options.http_parallel,
        "offline": (0,),
        "transformers": options.batches,
    }
    for name in run.steps(options.contenders, "warming up"):
        # Before the frames of any round, and short: a whole round of the slowest takes minutes, at default resolution a
        # prompt nearly one.
        prompts = WARM_UP if edge else 1
        remotes[name].caption(mixed(prompts, -1, longest_edge=edge, quick=True), max(at_once[name]))
    spent: dict[str, list[Spent]] = {}

    def turn(name: str, size: int) -> Callable[[], float]:
        def caption() -> float:
            taken = spent.setdefault(_label(name, size), [])
            # None of its caches holds them: marked frames are new, and those of a server, which reads the video itself,
            # come again when it has read all others.
            workload = _workload(run, next(turns[name]), edge)
            taken.append(remotes[name].caption(workload, size))
            exact.add(workload.exact)
            return taken[-1].captions / taken[-1].seconds

        return caption

    turns = {name: itertools.count() for name in options.contenders}
    exact: set[bool] = set()
    speeds = run.take_turns(
        {_label(name, size): turn(name, size) for name in options.contenders for size in at_once[name]},
        options.rounds,
        warm_up=0,
    )
    check_that_all_did_the_same(spent, exact=all(exact))
    run.settings["caption"] = mean_caption([one for taken in spent.values() for one in taken])
    run.show(_table(run, speeds, spent))
    if all(exact) and (words := said_of_http(spent)):
        run.show(words)
    _plot(run, speeds)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(CONTENDERS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(CONTENDERS)}")
    return names


def _label(name: str, size: int) -> str:
    return f"{name}.{size}" if size else name


def _start(run: "Run", name: str, folder: Path) -> Remote:
    from bench.contenders.engine import AppEngine
    from bench.contenders.http import Http
    from bench.contenders.offline import Offline
    from bench.contenders.transformers import Transformers

    own = {"dtype": run.options.dtype, "kv_cache_gib": kv_cache_gib(folder)}
    if name == "http":
        if run.options.dtype == "bfloat16":  # the checkpoint's own: other scenarios then share the server
            del own["dtype"]
        return run.engines.remote(Http, url=run.engines.server(model=str(folder), **own).url)
    if name == "transformers":
        return run.engines.remote(Transformers, folder=str(folder), dtype=run.options.dtype)
    make: type[Contender] = AppEngine if name == "engine" else Offline
    return run.engines.remote(make, folder=str(folder), **own)


def _workload(run: "Run", turn: int, edge: int) -> Workload:
    if run.options.mmif:
        return of_mmif(run.options.mmif, turn, longest_edge=edge)
    return WORKLOADS[run.options.workload](run.options.prompts, turn, longest_edge=edge, quick=run.quick)


def check_that_all_did_the_same(spent: dict[str, list[Spent]], *, exact: bool) -> None:
    """
    Hold every round of every contender against all others: rounds have other frames, and the same work.

    :param exact: captions have a given length, but for those through HTTP, which the model may end sooner: no parameter
        of the app forbids that. Otherwise each is as long as the model has something to say of its frames
    :raises RuntimeError: if one captioned, read or wrote more than another
    """
    rounds = {f"{label}, round {number + 1}": one for label, taken in spent.items() for number, one in enumerate(taken)}
    _check("captions, images, tokens read", {who: _read(one) for who, one in rounds.items()})
    if exact:
        written = {who: (one.completion_tokens,) for who, one in rounds.items() if not who.startswith("http.")}
        _check("tokens written", written)


def _read(one: Spent) -> tuple[int, ...]:
    return one.captions, one.images, one.prompt_tokens


def _check(what: str, done: Mapping[str, tuple[int, ...]]) -> None:
    if len(set(done.values())) > 1:
        raise RuntimeError(f"Not all did the same work ({what}): {done}")


def said_of_http(spent: dict[str, list[Spent]]) -> str:
    """Say that captions through HTTP were shorter than the others, if they were; for exact workloads."""
    through = {label: mean_caption(taken)["tokens"] for label, taken in spent.items() if label.startswith("http.")}
    others = [mean_caption(taken)["tokens"] for label, taken in spent.items() if label not in through]
    if not through or not others or min(through.values()) >= max(others):
        return ""
    tokens = ", ".join(f"{label} {written:.1f}" for label, written in through.items())
    return (
        "Through HTTP the model ended captions by itself, so that less was written there, in tokens a caption: "
        f"{tokens}, the others {max(others):.1f}."
    )


def mean_caption(rounds: Sequence[Spent]) -> dict[str, float]:
    """Return what a caption was on average: its frames, the tokens that were read and those that were written."""
    captions = sum(one.captions for one in rounds)
    sums = {
        "frames": sum(one.images for one in rounds),
        "prompt_tokens": sum(one.prompt_tokens for one in rounds),
        "tokens": sum(one.completion_tokens for one in rounds),
    }
    return {name: round(total / captions, 2) for name, total in sums.items()}


def _table(run: "Run", speeds: dict[str, list[float]], spent: dict[str, list[Spent]]) -> Table:
    slow, ceiling = "transformers.1", "offline"
    batches = [label for label in speeds if label.startswith("transformers")]
    best = max(batches, key=lambda label: statistics.median(speeds[label]), default="")
    against = {
        "transformers.1": (slow, "against transformers, one by one"),
        "best_transformers": (best, f"against its best batch ({best.partition('.')[2]})"),
        "offline": (ceiling, "against vLLM offline"),
    }
    against = {name: (label, title) for name, (label, title) in against.items() if label in speeds}
    table = Table(title=f"{run.options.model}, {run.settings['workload']} workload: median (bounds of the true median)")
    for column in ("contender", "captions/s", "tokens written/s", *(title for _, title in against.values())):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for label, samples in speeds.items():
        interval = run.record(label, samples, "captions/s", "more").interval
        ratios = []
        for name, (other, _) in against.items():
            if other == label:
                ratios.append("1")
                continue
            ratio = run.record_ratio(f"{label}_over_{name}", samples, speeds[other]).interval
            ratios.append(f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})")
        written = mean_caption(spent[label])["tokens"] * interval.value
        words = f"{interval.value:.3f} ({interval.low:.3f}-{interval.high:.3f})"
        table.add_row(label, words, f"{written:.0f}", *ratios)
    return table


def _plot(run: "Run", speeds: dict[str, list[float]]) -> None:
    with run.plot("parallel") as axes:
        for name, marker in (("engine", "o"), ("http", "s"), ("transformers", "^")):
            sizes = sorted(int(label.partition(".")[2]) for label in speeds if label.startswith(f"{name}."))
            if sizes:
                middles = [statistics.median(speeds[f"{name}.{size}"]) for size in sizes]
                lows = [middle - min(speeds[f"{name}.{size}"]) for size, middle in zip(sizes, middles)]
                highs = [max(speeds[f"{name}.{size}"]) - middle for size, middle in zip(sizes, middles)]
                axes.errorbar(sizes, middles, yerr=[lows, highs], marker=marker, capsize=3, label=name)
        if "offline" in speeds:
            axes.axhline(statistics.median(speeds["offline"]), linestyle="--", color="#555555", label="vLLM offline")
        axes.set_xscale("log", base=2)
        axes.set_xlabel("parallelPrompts (transformers: batch size)")
        axes.set_ylabel("captions/s")
        axes.set_ylim(bottom=0)
        axes.set_title(f"Throughput, {run.options.model}, {run.settings['workload']} workload")
        axes.legend()
