"""Small videos of every kind the reader has to cope with, made with PyAV; each frame shows its own number."""

import functools
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

BITS = 12
BLOCK = 16
TOP = 16  # where the number is drawn, px from the top


@dataclass(frozen=True)
class Recipe:
    """
    How one video is made.

    :param times: milliseconds between one frame and the next, repeated as often as needed; constant rate without it
    :param damage: turns the bytes of the finished file into those of a damaged one
    :param rotation: degrees, written into the container
    """

    name: str
    suffix: str
    codec: str = "libx264"
    frames: int = 120
    rate: Fraction = field(default_factory=lambda: Fraction(25))
    size: tuple[int, int] = (192, 144)
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    gop: int = 40
    b_frames: int | None = None
    times: tuple[int, ...] = ()
    start_ms: int = 0
    rotation: int = 0
    aspect: Fraction | None = None
    audio: bool = False
    damage: Callable[[bytes], bytes] | None = None
    readable: bool = True


@functools.cache  # most videos have the same ones
def numbered(number: int, size: tuple[int, int]) -> np.ndarray:
    """
    A frame that shows its number as a row of black and white blocks on a moving texture.

    :param size: width and height in pixels
    :returns: RGB, uint8, height x width x 3
    """
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    texture = 96 + 60 * np.sin((columns + 3 * number) / 11) + 60 * np.cos((rows - 2 * number) / 7)
    grain = np.random.default_rng(number).normal(0, 6, (height, width))
    grey = np.clip(texture + grain, 0, 255).astype(np.uint8)
    picture = np.stack([grey, np.roll(grey, 17, axis=1), 255 - grey], axis=-1)
    for bit in range(BITS):
        left = bit * BLOCK
        picture[TOP : TOP + BLOCK, left : left + BLOCK] = 255 if number >> bit & 1 else 0
    return picture


def number_of(image: Image.Image) -> int:
    """The number that `numbered` drew."""
    grey = np.asarray(image.convert("L"))
    middle = BLOCK // 2
    spots = [
        grey[TOP + middle - 2 : TOP + middle + 2, bit * BLOCK + middle - 2 : bit * BLOCK + middle + 2]
        for bit in range(BITS)
    ]
    return sum(1 << bit for bit, spot in enumerate(spots) if spot.mean() > 127)


def frame_times(recipe: Recipe) -> Iterator[Fraction]:
    """Seconds at which each frame is shown."""
    now = Fraction(recipe.start_ms, 1000)
    for number in range(recipe.frames):
        yield now
        step = recipe.times[number % len(recipe.times)] if recipe.times else 0
        now += Fraction(step, 1000) if recipe.times else 1 / recipe.rate


def make(recipe: Recipe, folder: Path) -> Path:
    """Make the video of a recipe in a folder."""
    path = folder / f"{recipe.name}.{recipe.suffix}"
    with av.open(str(path), "w", format=recipe.format, options=recipe.container) as container:
        stream = container.add_stream(recipe.codec, rate=recipe.rate)
        stream.width, stream.height = recipe.size
        stream.pix_fmt = recipe.pix_fmt
        if recipe.gop:
            stream.gop_size = recipe.gop
        if recipe.b_frames is not None:
            stream.max_b_frames = recipe.b_frames
        stream.options = recipe.options
        tick = Fraction(1, 90000) if recipe.times or recipe.start_ms else 1 / recipe.rate
        stream.codec_context.time_base = tick
        if recipe.aspect:
            stream.codec_context.sample_aspect_ratio = recipe.aspect
        if recipe.rotation:
            stream.set_display_rotation(recipe.rotation)
        sound = None
        if recipe.audio:
            sound = container.add_stream("aac", rate=48000)
        for number, time in enumerate(frame_times(recipe)):
            frame = av.VideoFrame.from_ndarray(numbered(number, recipe.size), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
            if sound is not None:
                silence = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
                for plane in silence.planes:
                    plane.update(bytes(plane.buffer_size))
                silence.rate, silence.pts, silence.time_base = 48000, 1024 * number, Fraction(1, 48000)
                container.mux(sound.encode(silence))
        container.mux(stream.encode())
        if sound is not None:
            container.mux(sound.encode())
    if recipe.damage is not None:
        path.write_bytes(recipe.damage(path.read_bytes()))
    return path


def cut(share: float) -> Callable[[bytes], bytes]:
    """Damage: only this share of the file is left."""
    return lambda data: data[: int(len(data) * share)]


def spoil(at: float, length: int, seed: int | None = None) -> Callable[[bytes], bytes]:
    """Damage: `length` bytes from the share `at` of the file on are zero, or noise if there is a seed."""

    def damaged(data: bytes) -> bytes:
        start = int(len(data) * at)
        filling = bytes(length) if seed is None else random.Random(seed).randbytes(length)
        return data[:start] + filling[: len(data) - start] + data[start + length :]

    return damaged


def flip(count: int, seed: int) -> Callable[[bytes], bytes]:
    """Damage: `count` single bytes in the inner four fifths of the file are changed."""

    def damaged(data: bytes) -> bytes:
        dice, out = random.Random(seed), bytearray(data)
        for _ in range(count):
            out[dice.randrange(len(data) // 10, len(data) * 9 // 10)] ^= dice.randrange(1, 256)
        return bytes(out)

    return damaged


def lose(format: str, *numbers: int) -> Callable[[bytes], bytes]:
    """Damage: the packets of these numbers are missing, in a container that is whole."""

    def damaged(data: bytes) -> bytes:
        out = io.BytesIO()
        with av.open(io.BytesIO(data)) as source, av.open(out, "w", format=format) as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            for number, packet in enumerate(source.demux(stream)):
                if packet.dts is not None and number not in numbers:
                    packet.stream = copy
                    target.mux(packet)
        return out.getvalue()

    return damaged


NTSC = Fraction(30000, 1001)
FRONT = {"movflags": "faststart"}
PYRAMID = {"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:scenecut=0"}
UNEVEN = (40, 40, 20, 80, 33, 7, 200, 40, 60)
MPEG2 = {"codec": "mpeg2video", "gop": 12, "b_frames": 2}

RECIPES = (
    Recipe("constant", "mp4", options=PYRAMID),
    Recipe("ntsc", "mp4", rate=NTSC, options=PYRAMID, audio=True),
    Recipe("no-b-frames", "mp4", b_frames=0),
    Recipe("one-slice-per-core", "mp4", options={"x264-params": "slices=4:bframes=2:scenecut=0"}),
    Recipe("variable", "mp4", times=UNEVEN, options=PYRAMID),
    Recipe("variable-mkv", "mkv", times=UNEVEN, options=PYRAMID),
    Recipe("offset", "mp4", rate=NTSC, start_ms=1400, options=PYRAMID),
    Recipe("offset-mkv", "mkv", start_ms=1400, options=PYRAMID),
    Recipe("open-gop", "mp4", options={"x264-params": "open-gop=1:bframes=3:scenecut=0:b-adapt=0"}, gop=24),
    Recipe("open-gop-mkv", "mkv", options={"x264-params": "open-gop=1:bframes=3:scenecut=0:b-adapt=0"}, gop=24),
    Recipe("intra-refresh", "mp4", options={"x264-params": "intra-refresh=1:bframes=2"}),
    Recipe("long-gop", "mkv", gop=250, frames=150, audio=True, options=PYRAMID),
    Recipe("fragments", "mp4", container={"movflags": "frag_keyframe+empty_moov"}, options=PYRAMID),
    Recipe("quicktime", "mov", codec="mpeg4", gop=12, b_frames=2),
    Recipe("prores", "mov", codec="prores_ks", pix_fmt="yuv422p10le", frames=40),
    Recipe("motion-jpeg", "mov", codec="mjpeg", pix_fmt="yuvj420p", frames=60),
    Recipe("ten-bit", "mkv", pix_fmt="yuv422p10le", options=PYRAMID),
    Recipe("full-chroma", "mp4", pix_fmt="yuv444p", options=PYRAMID),
    Recipe("odd-size", "mp4", size=(198, 146), options=PYRAMID),
    Recipe("vp9", "webm", codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    Recipe(
        "vp9-live",
        "webm",
        codec="libvpx-vp9",
        options={"deadline": "realtime", "cpu-used": "8"},
        container={"live": "1"},
    ),
    Recipe("vp8", "webm", codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    Recipe("hevc", "mp4", codec="libx265", gop=24, options={"x265-params": "log-level=none:bframes=3"}),
    Recipe("av1", "mp4", codec="libsvtav1", frames=60, options={"preset": "12", "svtav1-params": "fast-decode=1"}),
    Recipe("mpeg2", "mpg", **MPEG2),
    Recipe("mpeg2-audio", "mpg", **MPEG2),
    Recipe("mpeg2-mkv", "mkv", **MPEG2),
    Recipe("mpeg2-ts", "ts", **MPEG2),
    Recipe("transport", "ts", options=PYRAMID),
    Recipe("mpeg4", "avi", codec="mpeg4", gop=12, b_frames=1),
    Recipe("h264-avi", "avi", b_frames=0),
    Recipe("windows-media", "wmv", codec="wmv2", gop=24),
    Recipe("flash", "flv", options=PYRAMID),
    Recipe("interlaced", "mp4", options={"x264-params": "tff=1:bframes=2:scenecut=0", "flags": "+ildct+ilme"}),
    Recipe("interlaced-mpg", "mpg", **MPEG2, options={"flags": "+ildct+ilme"}),
    Recipe("rotated", "mp4", rotation=90, options=PYRAMID),
    Recipe("anamorphic", "mp4", aspect=Fraction(16, 11), options=PYRAMID),
    Recipe("anamorphic-mpg", "mpg", **MPEG2, aspect=Fraction(12, 11)),
    Recipe("one-frame", "mp4", frames=1),
    Recipe("one-frame-webm", "webm", codec="libvpx-vp9", frames=1),
    Recipe("one-frame-mpg", "mpg", **MPEG2, frames=1),
    Recipe("two-frames", "mkv", frames=2),
    Recipe("truncated", "mp4", container=FRONT, options=PYRAMID, damage=cut(0.6)),
    Recipe("truncated-mkv", "mkv", options=PYRAMID, damage=cut(0.6)),
    Recipe("truncated-mpg", "mpg", **MPEG2, damage=cut(0.6)),
    Recipe(
        "truncated-webm", "webm", codec="libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}, damage=cut(0.5)
    ),
    Recipe("spoilt-noise", "mp4", container=FRONT, options=PYRAMID, damage=spoil(0.5, 3000, seed=1)),
    Recipe("spoilt-zeros", "mp4", container=FRONT, options=PYRAMID, damage=spoil(0.4, 2000)),
    Recipe("spoilt-long", "mp4", container=FRONT, options=PYRAMID, damage=spoil(0.3, 40000, seed=2)),
    Recipe("spoilt-mkv", "mkv", options=PYRAMID, damage=spoil(0.5, 3000, seed=3)),
    Recipe("spoilt-mpg", "mpg", **MPEG2, damage=spoil(0.5, 3000, seed=4)),
    Recipe(
        "spoilt-webm",
        "webm",
        codec="libvpx-vp9",
        options={"cpu-used": "8", "deadline": "realtime"},
        damage=spoil(0.5, 1500, seed=5),
    ),
    Recipe("flipped", "mp4", container=FRONT, options=PYRAMID, damage=flip(12, seed=6)),
    Recipe("flipped-more", "mp4", container=FRONT, gop=20, options=PYRAMID, damage=flip(40, seed=7)),
    Recipe("flipped-mkv", "mkv", options=PYRAMID, damage=flip(12, seed=8)),
    Recipe(
        "flipped-open",
        "mp4",
        container=FRONT,
        gop=24,
        damage=flip(6, seed=9),
        options={"x264-params": "open-gop=1:bframes=3:scenecut=0:b-adapt=0"},
    ),
    Recipe("lost", "mp4", options=PYRAMID, damage=lose("mp4", 30, 51, 52, *range(56, 60), 83)),
    Recipe(
        "lost-open",
        "mkv",
        gop=24,
        damage=lose("matroska", 19, 42, 43, 44, 45, 53, 95),
        options={"x264-params": "open-gop=1:bframes=3:scenecut=0:b-adapt=0"},
    ),
    Recipe("no-index", "mp4", options=PYRAMID, damage=cut(0.7), readable=False),
    Recipe("empty", "mp4", damage=lambda data: b"", readable=False),
    Recipe("text", "mp4", damage=lambda data: b"This is no video.\n" * 50, readable=False),
)
