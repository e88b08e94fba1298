"""
GPU-hours, cost and a layout for an archive, from a rate that was measured or, failing that, from the model's sizes.

The rate that counts is one that `throughput` measured on the GPU in question: give it with --rate, or its results
with --results. Without either, the time of a caption is reckoned from operations and bytes (see `bench/cost.py`), which
takes the GPU's limits and an assumption of what share of them is reached; that is an estimate and is called one.

A rate is one of captions of some kind: so many frames, at some resolution, so many tokens. The answer says which, as
far as it is known, and holds if the archive's captions are like these.

Left out: the video's way over the network, retries, warm-up of each engine, and work of others on the same GPU.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench import cost
from bench.geometry import GEOMETRIES, Geometry
from bench.results import read

if TYPE_CHECKING:
    from bench.run import Run

TOGETHER = 32  # prompts computed at once, where a rate is reckoned
PROMPT_TOKENS = 58  # of the default prompt's text and the chat's frame around it
TILES = 13  # of a frame at the app's default resolution: three rows of four, and the whole; so for 4:3 and for 16:9
SPECIAL_TOKENS = 30 / 13  # around each tile of such a frame: its place in it, and a line's end now and then


@dataclass(frozen=True)
class Demand:
    """
    What an archive asks for.

    :param captions: in all
    :param decode_hours: of one processor core
    """

    captions: float
    decode_hours: float


@dataclass(frozen=True)
class Rate:
    """
    How fast one engine is.

    :param captions: a second
    :param source: where that comes from
    :param caption: what a caption is there, in words; it is assumed that the archive's are like that
    """

    captions: float
    source: str
    caption: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the archive and the machines are like."""
    parser.add_argument("--hours", type=float, default=100_000, help="of video [default: 100000]")
    parser.add_argument("--timeframes-per-hour", type=float, default=60, help="captions an hour of video [default: 60]")
    parser.add_argument("--rate", type=float, help="captions/s of one engine, as measured")
    parser.add_argument("--results", type=Path, help="take the rate from these results of `throughput`")
    parser.add_argument(
        "--decode-seconds-per-hour", type=float, default=20, help="of one core, an hour of video [default: 20]"
    )
    parser.add_argument("--days", type=float, default=30, help="in which it is to be done [default: 30]")
    parser.add_argument("--price", type=float, help="of a GPU-hour, in whatever currency")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="2.2b", help="to reckon a rate [default: 2.2b]")
    parser.add_argument("--frames", type=float, default=1, help="a caption, likewise [default: 1]")
    parser.add_argument("--tokens", type=float, default=60, help="a caption, likewise [default: 60]")
    tiles = f"a frame, likewise [default: {TILES}, as at the app's default resolution]"
    parser.add_argument("--tiles", type=float, default=TILES, help=tiles)
    parser.add_argument("--tflops", type=float, help="of the GPU in bfloat16, likewise")
    parser.add_argument("--bandwidth", type=float, help="of its memory in GB/s, likewise")
    parser.add_argument("--share", type=float, default=0.4, help="of these limits that is reached [default: 0.4]")


def measure(run: "Run") -> None:
    """Reckon."""
    options = run.options
    rate = _rate(options)
    wanted = demand(options.hours, options.timeframes_per_hour, options.decode_seconds_per_hour)
    gpu_hours = wanted.captions / rate.captions / 3600
    engines = max(1, math.ceil(gpu_hours / (options.days * 24)))
    # Decoding has to keep up with all engines: as many core-hours within as many hours.
    cores = max(1, math.ceil(wanted.decode_hours / (gpu_hours / engines)))
    run.settings |= {"rate": rate.captions, "rate_from": rate.source, "caption": rate.caption}
    table = Table(title=f"{options.hours:,.0f} hours of video", show_header=False)
    rows = [
        ("captions", f"{wanted.captions:,.0f}"),
        ("captions/s of one engine", f"{rate.captions:,.3f}, {rate.source}"),
        ("what a caption is there", rate.caption),
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
    run.show("Assumed: the archive's captions are on average like those that the rate is of.")
    run.show(layout(engines))


def demand(hours: float, timeframes_per_hour: float, decode_seconds_per_hour: float) -> Demand:
    """Return what so many hours of video ask for."""
    return Demand(hours * timeframes_per_hour, hours * decode_seconds_per_hour / 3600)


def caption_of(geometry: Geometry, frames: float, tiles: float, tokens: float) -> cost.Caption:
    """Return what a caption asks for, whose frames are each cut into ``tiles``."""
    all_tiles = frames * tiles
    return cost.Caption(all_tiles, PROMPT_TOKENS + all_tiles * (geometry.tokens_per_tile + SPECIAL_TOKENS), tokens)


def _rate(options: argparse.Namespace) -> Rate:
    if options.rate:
        return Rate(
            options.rate,
            "as given",
            "not known: the rate has to be one of frames, resolution and lengths like the archive's",
        )
    if options.results:
        return measured_rate(options.results)
    return _estimate(options)


def measured_rate(file: Path) -> Rate:
    """
    Return the highest rate of the app in results of `throughput`.

    :raises ValueError: if there is none
    """
    results = read(file)
    speeds = {
        name: figure.interval.value
        for name, figure in results.figures.items()
        if name.startswith(("throughput.engine.", "throughput.http.")) and figure.unit == "captions/s"
    }
    if not speeds:
        raise ValueError(f"{file} holds no captions/s of the engine; make them with `throughput`.")
    best = max(speeds, key=lambda name: speeds[name])
    return Rate(speeds[best], f"measured as {best} in {file}, its fastest", _described(results.settings["throughput"]))


def _described(settings: dict[str, Any]) -> str:
    """Say what the captions of a measurement were."""
    edge = settings["longest_edge"]
    resolution = f"no more than {edge} px, NOT the app's default resolution" if edge else "the app's default resolution"
    words = f"{settings['model']}, {settings['workload']} workload, frames at {resolution}"
    if mean := settings.get("caption"):  # results of old don't have it
        words += (
            f"; on average {mean['frames']:g} frames, {mean['prompt_tokens']:.0f} tokens read, "
            f"{mean['tokens']:.0f} written"
        )
    return words


def _estimate(options: argparse.Namespace) -> Rate:
    geometry = GEOMETRIES[options.geometry]
    if options.tflops and options.bandwidth:
        limits, of = cost.Limits(options.tflops * 1e12, options.bandwidth * 1e9), "the given limits"
    else:
        from bench.limits import limits as measured

        limits, of = measured(), "this machine's own limits"
    shares = cost.Shares(options.share, options.share, options.share)
    caption = caption_of(geometry, options.frames, options.tiles, options.tokens)
    taken = cost.seconds(geometry, caption, limits, shares, TOGETHER)
    return Rate(
        1 / taken,
        f"an estimate from {options.share:.0%} of {of}, not a measurement",
        f"{options.geometry}, {options.frames:g} x {options.tiles:g} tiles, "
        f"{caption.prompt_tokens:.0f} tokens read, {options.tokens:g} written",
    )


def layout(engines: int) -> str:
    """Say how so many engines are had."""
    if engines == 1:
        return "Layout: one backfill process with one engine; parallelPrompts 16 or more keep it busy."
    return (
        f"Layout: {engines} engines, one on each GPU and none over several (the model fits on one): one backfill with "
        "--ray for the GPUs of this machine, with --ray ADDRESS for those of a cluster (docs/scaling.md)."
    )
