"""
The frame reader against the SDK, against the floor and against OpenCV: frames per second and peak memory.

Every measurement runs in a process of its own that may use so many cores and no more. In it the contenders take turns,
round by round, so that whatever else the machine does hits all alike; a ratio is that of two neighbours in one round.

The floor decodes once each picture that has to be decoded, and nothing else, from a list made beforehand. Images cost
the same whoever makes them, so a second floor also makes those that are wanted; it keeps none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench.frame_readers import MEMORY_BUDGET, TIME_FRAME_MS
from bench.samples import Better, ratio_of_neighbours

if TYPE_CHECKING:
    from bench.run import Run

RATES = {"sdk": "SDK", "reader": "reader", "floor": "floor", "images": "floor with images", "opencv": "OpenCV"}
RATIOS = {
    "over_sdk": ("reader/SDK", "reader", "sdk"),
    "under_floor": ("floor/reader", "floor", "reader"),
    "under_images": ("floor with images/reader", "images", "reader"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how often and on which files to measure."""
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="of each measurement [default: 7]")
    parser.add_argument(
        "--minutes", type=int, nargs="+", default=[5, 60], metavar="N", help="lengths of the files [default: 5 60]"
    )


def measure(run: "Run") -> None:
    """Measure speed and peak memory."""
    _measure_speed(run)
    _measure_memory(run)


def _measure_speed(run: "Run") -> None:
    from bench.video_files import video

    rates = Table("file", "cores", "mode", *RATES.values(), "wrong by OpenCV", title="frames per second, median")
    ratios = Table("file", "cores", "mode", title="ratios within a round: median (lowest to highest)")
    for column in (*(title for title, _, _ in RATIOS.values()), "reader/SDK by CPU time"):
        ratios.add_column(column)
    settings = [
        (minutes, cores, mode)
        for minutes in ((5,) if run.quick else run.options.minutes)
        for cores in range(1, min(2, os.cpu_count() or 1) + 1)
        for mode in ("sparse", "all")
    ]
    run.settings |= {"rounds": 1 if run.quick else run.options.rounds, "time_frame_ms": TIME_FRAME_MS}
    for minutes, cores, mode in run.steps(settings, "speed"):
        setting = {
            "path": str(video(minutes)),
            "cores": cores,
            "groups": time_frames(mode, minutes * 60_000, few=run.quick),
            "rounds": run.settings["rounds"],
        }
        rounds = _child("speed", setting)
        row = (f"{minutes} min", str(cores), mode)
        figures = _record(run, f"{minutes}min.{cores}core.{mode}", rounds)
        rates.add_row(*row, *(f"{statistics.median(figures[who]):.1f}" for who in RATES), _wrong(rounds))
        ratios.add_row(*row, *(_spread(figures[ratio]) for ratio in (*RATIOS, "over_sdk_cpu")))
    run.show(rates)
    run.show(ratios)


def _measure_memory(run: "Run") -> None:
    from bench.video_files import video

    memory = Table(title=f"peak memory in `all` mode with a budget of {MEMORY_BUDGET >> 20} MiB")
    for column in ("TimeFrames", "peak, MiB", "budget held at most, MiB", "frames"):
        memory.add_column(column)
    peaks = []
    for count in run.steps((30, 150) if run.quick else (30, 300, 3000), "memory"):
        peak = _child("memory", {"path": str(video(5 if run.quick else 60)), "count": count, "cores": 2})
        memory.add_row(str(count), f"{peak['rss']:.0f}", f"{peak['held']:.1f}", str(peak["frames"]))
        run.record(f"memory.{count}", peak["rss"], "MiB", "less")
        peaks.append(peak["rss"])
    run.record("memory.largest_over_smallest", max(peaks) / min(peaks), "x", "less")
    run.show(memory)


def time_frames(mode: str, length_ms: int, few: bool) -> list[list[int]]:
    """
    The instants of TimeFrames in the middle of a video, in ms.

    :param mode: ``sparse``, one representative every 5 s; or ``all``, every frame of 4 s, every 20 s
    """
    if mode == "sparse":
        count = 8 if few else 40
        return [[length_ms // 2 + 5000 * (number - count // 2) + 1234] for number in range(count)]
    count = 2 if few else 12
    # 17 ms later, since the middle of the shorter file lies halfway between two frames, where two instants hit one.
    starts = [length_ms // 2 + 20_000 * (number - count // 2) + 17 for number in range(count)]
    return [[start + round(at * 1001 / 30) for at in range(TIME_FRAME_MS * 30 // 1001)] for start in starts]


def _record(run: "Run", name: str, rounds: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Enter the rounds of one setting into the results."""
    figures = {who: [turn[who]["rate"] for turn in rounds] for who in RATES}
    for who, samples in figures.items():
        run.record(f"{name}.{who}", samples, "frames/s", "more")
    for ratio, (_, over, under) in RATIOS.items():
        better: Better = "more" if over == "reader" else "less"
        figures[ratio] = list(ratio_of_neighbours(figures[over], figures[under]))
        run.record(f"{name}.{ratio}", figures[ratio], "x", better)
    figures["over_sdk_cpu"] = [turn["sdk"]["cpu"] / turn["reader"]["cpu"] for turn in rounds]
    run.record(f"{name}.over_sdk_cpu", figures["over_sdk_cpu"], "x", "more")
    return figures


def _wrong(rounds: list[dict[str, Any]]) -> str:
    return f"{rounds[0]['wrong']} of {rounds[0]['seeks']}"


def _spread(samples: list[float]) -> str:
    return f"{statistics.median(samples):.2f} ({min(samples):.2f} to {max(samples):.2f})"


def _child(what: str, setting: dict[str, Any]) -> Any:
    command = [sys.executable, "-m", "bench.frame_readers", what]
    child = subprocess.run(command, input=json.dumps(setting), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(child.stdout.splitlines()[-1])
