"""Those who compete at reading frames, and the process in which they do: `python -m bench.frame_readers`."""

import json
import os
import resource
import sys
import threading
import time
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Groups = list[list[int]]
CONTENDERS = ("sdk", "reader", "floor", "images", "opencv")
SEEKS = 24  # instants for OpenCV, which is slow
PROMPT = 8  # frames, of TimeFrames with more than one
TIME_FRAME_MS = 4000
MEMORY_BUDGET = 64 * 1024 * 1024


def speed(path: str, cores: int, groups: Groups, rounds: int) -> list[dict[str, Any]]:
    """
    Let the contenders take turns.

    :param groups: the instants of each TimeFrame, ms
    :returns: by round and contender frames per second and CPU seconds a frame; and how many frames OpenCV got wrong
    """
    prompts = [group[at : at + PROMPT] for group in groups for at in range(0, len(group), PROMPT)]
    instants = sorted({ms for group in groups for ms in group})
    stretches = needed(path, instants)
    contenders: dict[str, Callable[[], Any]] = {
        "sdk": lambda: sdk(path, groups),
        "reader": lambda: reader(path, prompts),
        "floor": lambda: floor(path, stretches, cores, images=False),
        "images": lambda: floor(path, stretches, cores, images=True),
        "opencv": lambda: opencv(path, instants[:SEEKS]),
    }
    expected = numbers(path, instants[:SEEKS])
    turns = []
    for number in range(-1, rounds):  # the first warms up
        turn: dict[str, Any] = {"seeks": len(expected)}
        for place in range(len(CONTENDERS)):
            who = CONTENDERS[(number + place) % len(CONTENDERS)]
            wall, cpu = time.perf_counter(), time.process_time()
            result = contenders[who]()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            count = len(expected) if who == "opencv" else sum(map(len, groups))
            turn[who] = {"rate": count / wall, "cpu": cpu / count}
            if who == "opencv":
                turn["wrong"] = sum(seen != right for seen, right in zip(result, expected, strict=True))
        if number >= 0:
            turns.append(turn)
    return turns


def sdk(path: str, groups: Groups) -> None:
    """The SDK, TimeFrame by TimeFrame."""
    from mmif import Document
    from mmif.utils.video_document_helper import extract_images_from_timepoints

    document = Document()
    document.at_type = "http://mmif.clams.ai/vocabulary/VideoDocument/v1"
    document.id = "v"
    document.location = Path(path).resolve().as_uri()
    for group in groups:
        assert None not in extract_images_from_timepoints(document, group, as_PIL=True)


def reader(path: str, prompts: Groups) -> None:
    """This project's reader, prompt by prompt."""
    from sampling.video import ByteBudget, read_groups

    with read_groups(path, prompts, budget=ByteBudget()) as groups:
        for group in groups:
            assert None not in group.frames
            group.release()


def numbers(path: str, instants: Sequence[int]) -> list[int]:
    """The numbers that the frames at these instants show."""
    import numpy as np

    from bench.video_files import number_of
    from sampling.video import ByteBudget, read_groups

    with read_groups(path, [instants], budget=ByteBudget()) as groups:
        return [number_of(np.asarray(frame.image)) for group in groups for frame in group.frames if frame]


def opencv(path: str, instants: Sequence[int]) -> list[int]:
    """OpenCV, which seeks by frame number; the numbers that its frames show."""
    import cv2

    from bench.video_files import number_of

    capture = cv2.VideoCapture(path)
    rate = capture.get(cv2.CAP_PROP_FPS)
    seen = []
    for ms in instants:
        capture.set(cv2.CAP_PROP_POS_FRAMES, round(ms / 1000 * rate))
        read, picture = capture.read()
        seen.append(number_of(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)) if read else -1)
    capture.release()
    return seen


@dataclass
class Stretch:
    """
    What has to be decoded from one key frame on; all as timestamps.

    :param start: of the key frame
    :param decoded: in decoding order
    :param wanted: those of them that are asked for
    """

    start: int
    decoded: list[int] = field(default_factory=list)
    wanted: set[int] = field(default_factory=set)


def needed(path: str, instants: Sequence[int]) -> list[Stretch]:
    """What has to be decoded for the frames at these instants, the longest stretch first."""
    from sampling.bitstream import look
    from sampling.source import Source

    source = Source(path, threads=1)
    source.seek(source.ticks(instants[0]))
    packets = []
    for packet in source.packets():
        spare = look(packet, source.nal_length_size, source.parameter_sets).spare
        packets.append((packet.pts, packet.is_keyframe, spare))
        if packet.dts > source.ticks(instants[-1] + 1000):
            break
    source.close()
    times = sorted(pts for pts, _, _ in packets)
    wanted = set()
    for ms in instants:
        tick = source.ticks(ms)
        place = bisect_left(times, tick)
        wanted.add(min(times[max(0, place - 1) : place + 1], key=lambda pts: (abs(pts - tick), -pts)))
    stretches: list[Stretch] = []
    for pts, key, spare in packets:
        if key:
            stretches.append(Stretch(pts))
        if pts in wanted:
            stretches[-1].wanted.add(pts)
        if pts in wanted or not spare:
            stretches[-1].decoded.append(pts)
    for stretch in stretches:
        while stretch.decoded and stretch.decoded[-1] not in stretch.wanted:
            stretch.decoded.pop()
    return sorted((s for s in stretches if s.wanted), key=lambda stretch: -len(stretch.decoded))


def floor(path: str, stretches: Sequence[Stretch], cores: int, images: bool) -> None:
    """
    Decode what has to be, on as many threads as there are cores.

    :param images: whether to make images of the pictures that are wanted
    """
    left = list(reversed(stretches))

    def work() -> None:
        from sampling.source import Source

        source = Source(path, threads=1)
        while left:
            try:
                stretch = left.pop()
            except IndexError:  # another thread was quicker
                break
            source.seek(stretch.start)
            packets, found = source.packets(), 0
            for at, pts in enumerate(stretch.decoded, start=1):
                packet = next(packet for packet in packets if packet.pts == pts)
                frames = source.codec.decode(packet)
                if at == len(stretch.decoded):
                    frames += source.codec.decode(None)
                for frame in frames:
                    if frame.pts in stretch.wanted:
                        found += 1
                        if images:
                            source.image(frame)
            source.codec.flush_buffers()
            assert found == len(stretch.wanted)
        source.close()

    threads = [threading.Thread(target=work) for _ in range(cores)]
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
    arguments = json.load(sys.stdin)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments["cores"]])
    print(json.dumps(speed(**arguments) if sys.argv[1] == "speed" else memory(**arguments)))
