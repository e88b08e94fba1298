"""A decoded picture as an RGB image, without a copy where that gives the same pixels."""

import os
from functools import lru_cache
from typing import Any

import av
from av.video.reformatter import VideoReformatter
from PIL import Image

# What video decoders give out almost always; anything else is converted in the slower way.
PLANAR = frozenset(
    f"yuv{range_}{sampling}{depth}"
    for range_, depth in (("", "p"), ("j", "p"), ("", "p10le"))
    for sampling in ("420", "422", "444")
)
WHOLE = 16  # px; swscale leaves some of the last columns unwritten in 32-bit rows of other widths
ROWS = 32  # FFmpeg takes memory for a multiple of so many


class Converter:
    """
    Makes images as `VideoFrame.to_image` does, pixel for pixel, without building a scaler each time.

    Pillow keeps RGB in 32 bits a pixel. Where swscale writes just that, the image is made over swscale's own memory,
    which lives as long as the image. It is read-only for Pillow: whoever draws on it draws on a copy.
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
    """The memory that the image of a picture takes, in bytes."""
    return width * -(-height // ROWS) * ROWS * 4


def over(frame: av.VideoFrame) -> Image.Image:
    """An image over the memory of an ``rgb0`` frame; what Pillow's `frombuffer` does, which takes no RGB."""
    core: Any = Image.core
    plane = frame.planes[0]
    size = (frame.width, frame.height)
    image = Image.Image()._new(core.map_buffer(plane, size, "raw", 0, ("RGB", plane.line_size, 1)))
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
