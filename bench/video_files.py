"""Long videos for benchmarks, made in seconds: a short one is encoded once and its packets are repeated."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

FOLDER = Path("build/bench")
SIZE = (640, 480)
RATE = Fraction(30000, 1001)
KEY_INTERVAL = 250
LOOP = 3 * KEY_INTERVAL  # frames
LATE = Fraction(7, 5)  # s
BITS = 10
BLOCK = 24  # px


def video(minutes: int) -> Path:
    """
    A video of at least so many minutes: 640x480 H.264 at 29.97 frames per second, a key frame every 250 frames, one
    slice a frame. Every frame shows its number, counted anew every 750 frames. An hour begins at 1.4 s, as some do.
    """
    path = FOLDER / f"numbered-{minutes}min.mp4"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        loop = FOLDER / "numbered-loop.mp4"
        if not loop.exists():
            _encode(loop)
        _repeat(loop, path, -(-minutes * 60 * RATE // LOOP), LATE if minutes >= 60 else 0)
    return path


def number_of(picture: np.ndarray) -> int:
    """The number that a frame shows, height x width x 3 in any order of colours."""
    middle = BLOCK // 2
    return sum(1 << bit for bit in range(BITS) if picture[middle, bit * BLOCK + middle].mean() > 127)


def _encode(path: Path) -> None:
    width, height = SIZE
    dice = np.random.default_rng(1)
    scene = cv2.resize(dice.integers(0, 255, (height // 2, width // 2), dtype=np.uint8), (width * 4, height * 4))
    scene = cv2.GaussianBlur(scene, (0, 0), 3)
    grain = [dice.normal(0, 3, (height, width)) for _ in range(8)]
    unfinished = path.with_suffix(".part.mp4")
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", KEY_INTERVAL
        # With as many threads as cores the file would depend on the machine; PyAV gives each a slice of its own.
        parameters = f"scenecut=0:keyint={KEY_INTERVAL}:threads=1:sliced-threads=0"
        stream.options = {"preset": "medium", "crf": "23", "x264-params": parameters}
        for number in range(LOOP):
            left = int(width * 1.5 * (1 + np.sin(number / 97)))
            top = int(height * 1.5 * (1 + np.cos(number / 71)))
            grey = scene[top : top + height, left : left + width] + grain[number % len(grain)]
            picture = np.stack([grey, np.roll(grey, 40, axis=1), 255 - grey], axis=-1).clip(0, 255).astype(np.uint8)
            for bit in range(BITS):
                picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    unfinished.rename(path)


def _repeat(loop: Path, path: Path, times: int, start: Fraction | int) -> None:
    unfinished = path.with_suffix(".part.mp4")
    with av.open(str(loop)) as source, av.open(str(unfinished), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        length, late = round(LOOP / RATE / stream.time_base), round(start / stream.time_base)
        for turn in range(times):
            source.seek(0, stream=stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.pts += late + turn * length
                    packet.dts += late + turn * length
                    packet.stream = copy
                    target.mux(packet)
    unfinished.rename(path)
