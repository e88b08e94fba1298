"""
The frame reader against the SDK, against the floor and against OpenCV: frames per second and peak memory.

Every measurement runs in a process of its own that may use so many cores and no more. In it the contenders take turns,
round by round, so that whatever else the machine does hits all alike; a ratio is that of two neighbours in one round.
The floor decodes once each picture that has to be decoded, and nothing else, from a list made beforehand.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from bench.run import Run

Groups = list[list[int]]
ROUNDS = 7
SPARSE = 40  # TimeFrames with one representative each
SEEKS = 24  # instants for OpenCV, which is slow
PROMPT = 8  # frames, in `all` mode
TIME_FRAME_MS = 4000  # likewise
MEMORY_BUDGET = 64 * 1024 * 1024


def measure(run: "Run") -> None:
    """Measure speed and peak memory."""
    from bench.video_files import video

    quick = run.quick
    speeds = Table(title="frames per second, and ratios within a round: median (lowest-highest)")
    for column in (
        "file",
        "cores",
        "mode",
        "SDK",
        "reader",
        "floor",
        "OpenCV",
        "wrong",
        "reader/SDK",
        "floor/reader",
        "reader/SDK by CPU time",
    ):
        speeds.add_column(column, no_wrap=True)
    for minutes in (5,) if quick else (5, 60):
        for cores in range(1, min(2, os.cpu_count() or 1) + 1):
            for mode in ("sparse", "all"):
                setting = {
                    "path": str(video(minutes)),
                    "cores": cores,
                    "mode": mode,
                    "rounds": 1 if quick else ROUNDS,
                    "sparse": 8 if quick else SPARSE,
                    "start": minutes * 30_000,
                }
                speeds.add_row(
                    f"{minutes} min",
                    str(cores),
                    mode,
                    *_add(run, f"{minutes}min.{cores}core.{mode}", _child("speed", setting)),
                )
    run.show(speeds)
    memory = Table(title=f"peak memory in `all` mode with a budget of {MEMORY_BUDGET >> 20} MiB")
    for column in ("TimeFrames", "peak, MiB", "budget held at most, MiB", "frames"):
        memory.add_column(column)
    for count in (30, 150) if quick else (30, 300, 3000):
        setting = {"path": str(video(5 if quick else 60)), "cores": 2, "count": count}
        peak = _child("memory", setting)
        memory.add_row(str(count), f"{peak['rss']:.0f}", f"{peak['held']:.1f}", str(peak["frames"]))
        run.record(f"memory.{count}", peak["rss"], "MiB", "less")
    run.show(memory)


def _add(run: "Run", name: str, rounds: list[dict[str, Any]]) -> list[str]:
    """Enter the rounds of one setting into the figures; the cells of its row."""

    def figure(key: str, unit: str, values: list[float]) -> str:
        middle, low, high = statistics.median(values), min(values), max(values)
        run.record(f"{name}.{key}", values, unit, "less" if key == "under_floor" else "more")
        return f"{middle:.2f} ({low:.2f}-{high:.2f})" if unit == "x" else f"{middle:.1f}"

    cells = [
        figure(who, "frames/s", [turn[who]["rate"] for turn in rounds]) for who in ("sdk", "reader", "floor", "opencv")
    ]
    cells.append(f"{rounds[0]['wrong']} of {rounds[0]['seeks']}")
    cells.append(figure("over_sdk", "x", [turn["reader"]["rate"] / turn["sdk"]["rate"] for turn in rounds]))
    cells.append(figure("under_floor", "x", [turn["floor"]["rate"] / turn["reader"]["rate"] for turn in rounds]))
    cells.append(figure("over_sdk_cpu", "x", [turn["sdk"]["cpu"] / turn["reader"]["cpu"] for turn in rounds]))
    return cells


def _child(what: str, setting: dict[str, Any]) -> Any:
    command = [sys.executable, "-m", "bench.frames", what, json.dumps(setting)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def speed(path: str, cores: int, mode: str, rounds: int, sparse: int, start: int) -> list[dict[str, Any]]:
    """Let the contenders take turns at the same instants; `start` in ms."""
    if mode == "sparse":
        time_frames = [[start - 100_000 + 5000 * number + 1234] for number in range(sparse)]
        prompts = time_frames
    else:
        instants = [
            [start + round(at * 1001 / 30) for at in range(first, first + TIME_FRAME_MS * 30 // 1001)]
            for first in range(0, 119 * (1 if sparse < 20 else 4), 119)
        ]
        time_frames = instants
        prompts = [group[at : at + PROMPT] for group in instants for at in range(0, len(group), PROMPT)]
    frames = sum(map(len, time_frames))
    needed = _needed(path, sorted({ms for group in time_frames for ms in group}))
    some = sorted(ms for group in time_frames for ms in group)[:SEEKS]
    contenders: dict[str, Callable[[], Any]] = {
        "sdk": lambda: _sdk(path, time_frames),
        "reader": lambda: _reader(path, prompts),
        "floor": lambda: _floor(path, needed, cores),
        "opencv": lambda: _opencv(path, some),
    }
    turns = []
    expected = _reader_numbers(path, prompts)
    for number in range(rounds):
        turn: dict[str, Any] = {"seeks": len(some)}
        names = list(contenders)
        for who in names[number % 4 :] + names[: number % 4]:
            wall, cpu = time.perf_counter(), time.process_time()
            result = contenders[who]()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            count = len(some) if who == "opencv" else frames
            turn[who] = {"rate": count / wall, "cpu": cpu / count}
            if who == "opencv":
                turn["wrong"] = sum(seen != right for seen, right in zip(result, expected, strict=False))
        turns.append(turn)
    return turns


def _sdk(path: str, groups: Groups) -> None:
    from mmif import Document
    from mmif.utils.video_document_helper import extract_images_from_timepoints

    document = Document()
    document.at_type = "http://mmif.clams.ai/vocabulary/VideoDocument/v1"
    document.id = "v"
    document.location = Path(path).resolve().as_uri()
    for group in groups:
        assert None not in extract_images_from_timepoints(document, group, as_PIL=True)


def _reader(path: str, groups: Groups) -> None:
    from sampling.video import ByteBudget, read_groups

    with read_groups(path, groups, budget=ByteBudget()) as reader:
        for group in reader:
            assert None not in group.frames
            group.release()


def _reader_numbers(path: str, groups: Groups) -> list[int]:
    import numpy as np

    from bench.video_files import number_of
    from sampling.video import ByteBudget, read_groups

    numbers: dict[int, list[int]] = {}
    with read_groups(path, groups, budget=ByteBudget()) as reader:
        for group in reader:
            with group:
                numbers[group.index] = [number_of(np.asarray(frame.image)) for frame in group.frames if frame]
    return [number for index in range(len(groups)) for number in numbers[index]]


def _opencv(path: str, instants: Sequence[int]) -> list[int]:
    import cv2

    from bench.video_files import number_of

    capture = cv2.VideoCapture(path)
    rate = capture.get(cv2.CAP_PROP_FPS)
    numbers = []
    for ms in instants:
        capture.set(cv2.CAP_PROP_POS_FRAMES, round(ms / 1000 * rate))
        read, picture = capture.read()
        numbers.append(number_of(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)) if read else -1)
    capture.release()
    return numbers


def _needed(path: str, instants: Sequence[int]) -> list[tuple[int, list[int], set[int]]]:
    """Per key frame where to seek, the pictures to decode in order, and those wanted; all as timestamps."""
    from sampling.bitstream import look
    from sampling.source import Source

    source = Source(path, threads=1)
    source.seek(source.ticks(instants[0]))
    packets = []
    for packet in source.packets():
        packets.append(
            (packet.pts, packet.is_keyframe, look(packet, source.nal_length_size, source.picture_sets).spare)
        )
        if packet.dts > source.ticks(instants[-1] + 1000):
            break
    source.close()
    times = sorted(pts for pts, _, _ in packets)
    wanted = set()
    for ms in instants:
        tick = source.ticks(ms)
        place = bisect_left(times, tick)
        wanted.add(min(times[max(0, place - 1) : place + 1], key=lambda pts: (abs(pts - tick), -pts)))
    runs: list[tuple[int, list[int], set[int]]] = []
    for pts, key, spare in packets:
        if key:
            runs.append((pts, [], set()))
        if pts in wanted:
            runs[-1][2].add(pts)
        if pts in wanted or not spare:
            runs[-1][1].append(pts)
    for _, sent, shown in runs:
        while sent and sent[-1] not in shown:
            sent.pop()
    return [run for run in runs if run[2]]


def _floor(path: str, needed: list[tuple[int, list[int], set[int]]], cores: int) -> None:
    def decode(part: list[tuple[int, list[int], set[int]]]) -> None:
        from sampling.source import Source

        source = Source(path, threads=1)
        for start, sent, shown in part:
            source.seek(start)
            at, found = 0, 0
            for packet in source.packets():
                if packet.pts == sent[at]:
                    at += 1
                    frames = source.codec.decode(packet)
                    if at == len(sent):
                        frames += source.codec.decode(None)
                    found += sum(source.image(frame) is not None for frame in frames if frame.pts in shown)
                    if at == len(sent):
                        break
            assert found == len(shown)
        source.close()

    threads = [threading.Thread(target=decode, args=(needed[core::cores],)) for core in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def memory(path: str, cores: int, count: int) -> dict[str, Any]:
    """Read so many TimeFrames of 300 ms, every frame of them, with a consumer for whom the budget is always full."""
    from sampling.video import ByteBudget, read_groups

    groups = [[1200 * number + round(at * 1001 / 30) for at in range(9)] for number in range(count)]
    groups = [[ms % (290_000 if "5min" in path else 3_590_000) for ms in group] for group in groups]
    budget, frames, left = ByteBudget(MEMORY_BUDGET), 0, count
    with read_groups(path, groups, budget=budget) as reader:
        for group in reader:
            patience = time.monotonic() + 60
            while not budget.waiting and left > 10 and time.monotonic() < patience:
                time.sleep(0.001)
            left -= 1
            frames += sum(frame is not None for frame in group.frames)
            group.release()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rss": rss, "held": budget.peak / 1024 / 1024, "frames": frames, "cores": cores}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    arguments = json.loads(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments["cores"]])
    print(json.dumps(speed(**arguments) if sys.argv[1] == "speed" else memory(**arguments)))
