"""
GPU-hours, cost and a layout for an archive, from a rate that was measured or, failing that, from the model's sizes.

The rate that counts is one that `throughput` measured on the GPU in question: give it with --rate, or its results
with --results. Without either, the time of a caption is reckoned from operations and bytes (see `bench/cost.py`), which
takes the GPU's limits and an assumption of what share of them is reached; that is an estimate and is called one.

Left out: the video's way over the network, retries, warm-up of each engine, and work of others on the same GPU.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bench import cost
from bench.geometry import GEOMETRIES, Geometry
from bench.results import read

if TYPE_CHECKING:
    from bench.run import Run

TOGETHER = 32  # prompts computed at once, where a rate is reckoned
PROMPT_TOKENS = 90  # of the default prompt's text and the chat's frame around it
SPECIAL_TOKENS = 4  # around each tile: its place in the frame, and a line's end now and then


@dataclass(frozen=True)
class Demand:
    """
    What an archive asks for.

    :param captions: in all
    :param decode_hours: of one processor core
    """

    captions: float
    decode_hours: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the archive and the machines are like."""
    parser.add_argument("--hours", type=float, default=100_000, help="of video [default: 100000]")
    parser.add_argument("--timeframes-per-hour", type=float, default=60, help="captions an hour of video [default: 60]")
    parser.add_argument("--frames", type=float, default=1, help="a caption [default: 1]")
    parser.add_argument("--tokens", type=float, default=60, help="a caption [default: 60]")
    parser.add_argument("--rate", type=float, help="captions/s of one engine, as measured")
    parser.add_argument("--results", type=Path, help="take the rate from these results of `throughput`")
    parser.add_argument(
        "--decode-seconds-per-hour", type=float, default=20, help="of one core, an hour of video [default: 20]"
    )
    parser.add_argument("--days", type=float, default=30, help="in which it is to be done [default: 30]")
    parser.add_argument("--price", type=float, help="of a GPU-hour, in whatever currency")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="2.2b", help="to reckon a rate [default: 2.2b]")
    parser.add_argument("--tiles", type=float, default=1, help="a frame, likewise; 13 or 17 by default of the model")
    parser.add_argument("--tflops", type=float, help="of the GPU in bfloat16, likewise")
    parser.add_argument("--bandwidth", type=float, help="of its memory in GB/s, likewise")
    parser.add_argument("--share", type=float, default=0.4, help="of these limits that is reached [default: 0.4]")


def measure(run: "Run") -> None:
    """Reckon."""
    options = run.options
    rate, source = _rate(run)
    wanted = demand(options.hours, options.timeframes_per_hour, options.decode_seconds_per_hour)
    gpu_hours = wanted.captions / rate / 3600
    engines = max(1, math.ceil(gpu_hours / (options.days * 24)))
    # Decoding has to keep up with all engines: as many core-hours within as many hours.
    cores = max(1, math.ceil(wanted.decode_hours / (gpu_hours / engines)))
    run.settings |= {"rate": rate, "rate_from": source}
    table = Table(title=f"{options.hours:,.0f} hours of video", show_header=False)
    rows = [
        ("captions", f"{wanted.captions:,.0f}"),
        ("captions/s of one engine", f"{rate:,.3f}, {source}"),
        ("GPU-hours", f"{run.record('gpu_hours', gpu_hours, 'h', 'less').interval.value:,.0f}"),
        ("processor-core-hours of decoding", f"{wanted.decode_hours:,.0f}"),
        (f"engines, to be done in {options.days:g} days", f"{engines}"),
        ("cores that decode, over all machines", f"{cores}, {math.ceil(cores / engines)} for each engine"),
    ]
    if options.price:
        rows.append(("cost", f"{gpu_hours * options.price:,.0f}"))
    for row in rows:
        table.add_row(*row)
    run.record("engines", engines, "engines", "less")
    run.record("cores", cores, "cores", "less")
    run.show(table)
    run.show(_layout(engines))


def demand(hours: float, timeframes_per_hour: float, decode_seconds_per_hour: float) -> Demand:
    """Return what so many hours of video ask for."""
    return Demand(hours * timeframes_per_hour, hours * decode_seconds_per_hour / 3600)


def caption_of(geometry: Geometry, frames: float, tiles: float, tokens: float) -> cost.Caption:
    """Return what a caption asks for, whose frames are each cut into ``tiles``."""
    all_tiles = frames * tiles
    return cost.Caption(all_tiles, PROMPT_TOKENS + all_tiles * (geometry.tokens_per_tile + SPECIAL_TOKENS), tokens)


def _rate(run: "Run") -> tuple[float, str]:
    options = run.options
    if options.rate:
        return options.rate, "as given"
    if options.results:
        figures = read(options.results).figures
        speeds = {
            name: figure.interval.value
            for name, figure in figures.items()
            if name.startswith(("throughput.engine.", "throughput.http.")) and figure.unit == "captions/s"
        }
        if not speeds:
            raise ValueError(f"{options.results} holds no captions/s of the engine; make them with `throughput`.")
        best = max(speeds, key=lambda name: speeds[name])
        return speeds[best], f"measured as {best} in {options.results}"
    geometry = GEOMETRIES[options.geometry]
    if options.tflops and options.bandwidth:
        limits, of = cost.Limits(options.tflops * 1e12, options.bandwidth * 1e9), "the given limits"
    else:
        from bench.limits import limits as measured

        limits, of = measured(), "this machine's own limits"
    shares = cost.Shares(options.share, options.share, options.share)
    caption = caption_of(geometry, options.frames, options.tiles, options.tokens)
    taken = cost.seconds(geometry, caption, limits, shares, TOGETHER)
    return 1 / taken, f"an estimate from {options.share:.0%} of {of}, not a measurement"


def _layout(engines: int) -> str:
    if engines == 1:
        return "Layout: one backfill process with one engine; parallelPrompts 16 or more keep it busy."
    return (
        f"Layout: {engines} engines, one on each GPU and none over several (the model fits on one), each with a "
        "backfill of its own share of the files."
    )
