"""A decoded picture as an RGB image."""

import mmap
import os
import weakref
from collections import deque
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

# What video decoders give out almost always; anything else is converted in the slower way.
PLANAR = frozenset(
    f"yuv{range_}{sampling}{depth}"
    for range_, depth in (("", "p"), ("j", "p"), ("", "p10le"))
    for sampling in ("420", "422", "444")
)
WHOLE = 16  # px; swscale leaves some of the last columns unwritten in 32-bit rows of other widths
BYTES_PER_PIXEL = 4  # Pillow keeps RGB in 32 bits
SPARE_BYTES = 12 * 1024 * 1024  # of memory kept for the next images, for each of so many sizes
SPARE_SIZES = 4


class Converter:
    """
    Makes images as `VideoFrame.to_image` does, pixel for pixel, without building a scaler each time.

    Where swscale can write pixels as Pillow keeps them, they go into memory of images that are gone, and the image is
    made over it. It is read-only for Pillow: whoever draws on it draws on a copy.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def image(self, frame: av.VideoFrame) -> Image.Image:
        """The RGB image of a picture."""
        fields = 2 if frame.interlaced_frame else 1
        if alike(frame.format.name, frame.width, frame.height // fields, frame.colorspace, frame.color_range):
            return over(self._reformatter.reformat(frame, format="rgb0", threads=1))
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        if rgb is frame:
            return plain(frame)
        plane = rgb.planes[0]
        return Image.frombytes("RGB", (rgb.width, rgb.height), memoryview(plane), "raw", "RGB", plane.line_size, 1)


def image_bytes(width: int, height: int) -> int:
    """The memory that an image takes, in bytes."""
    return width * height * BYTES_PER_PIXEL


class Memory:
    """
    Memory for images, used again when nobody knows the image any more, whichever thread made it.

    Taking it from the system for each image costs more than the conversion, and the C library's own reserve grows with
    time: memory that one thread took serves no other, and FFmpeg's aligned pieces do not fit where such a piece was.
    """

    def __init__(self) -> None:
        self._spare: dict[int, deque[mmap.mmap]] = {}

    def take(self, size: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """Bytes of any content; they are given back when the array and all made over it are gone."""
        spare = self._spare.get(size)
        if spare is None:
            if len(self._spare) >= SPARE_SIZES:
                self._spare = {}
            spare = self._spare.setdefault(size, deque(maxlen=max(1, SPARE_BYTES // size)))
        try:
            piece = spare.pop()
        except IndexError:
            piece = mmap.mmap(-1, size)
        taken = np.frombuffer(piece, np.uint8)
        weakref.finalize(taken, spare.append, piece).atexit = False
        return taken


_memory = Memory()


def over(frame: av.VideoFrame) -> Image.Image:
    """The image of an ``rgb0`` frame, made as Pillow's `frombuffer` makes one, which takes no RGB."""
    core: Any = Image.core
    plane = frame.planes[0]
    pixels = _memory.take(plane.buffer_size)
    np.copyto(pixels, np.frombuffer(plane, np.uint8))
    size = (frame.width, frame.height)
    image = Image.Image()._new(core.map_buffer(pixels, size, "raw", 0, ("RGB", plane.line_size, 1)))
    image.readonly = 1
    return image


def plain(frame: Any) -> Image.Image:
    """The image that PyAV makes."""
    image: Image.Image = frame.to_image()
    return image


@lru_cache(maxsize=64)
def alike(pix_fmt: str, width: int, height: int, colorspace: int, color_range: int) -> bool:
    """
    Whether swscale gives the same pixels in 32 bits as in the 24 that `VideoFrame.to_image` asks for.

    Both have code of their own for each kind of processor; the answer is found by a picture of noise.
    """
    if pix_fmt not in PLANAR or width % WHOLE:
        return False
    noise = av.VideoFrame(width, height, pix_fmt)
    for plane in noise.planes:
        plane.update(os.urandom(plane.buffer_size))
    noise.colorspace, noise.color_range = colorspace, color_range
    packed = over(VideoReformatter().reformat(noise, format="rgb0", threads=1))
    return packed.tobytes() == plain(noise).tobytes()
