"""Pictures as images: the pixels of `VideoFrame.to_image`, however they are made."""

import os

import av
import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw

from sampling import pixels
from sampling.pixels import PLANAR, SPARE_SIZES, Converter, Memory, alike, image_bytes

SIZES = [(640, 480), (720, 576), (192, 145), (32, 2), (180, 144), (198, 146), (33, 21)]
OTHERS = ["gray", "nv12", "yuv411p", "yuv420p12le", "gbrp", "pal8", "rgba"]


def noise(width: int, height: int, pix_fmt: str) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane in frame.planes:
        plane.update(os.urandom(plane.buffer_size))
    return frame


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("pix_fmt", [*sorted(PLANAR), *OTHERS])
def test_an_image_has_the_pixels_of_to_image(pix_fmt: str, size: tuple[int, int]) -> None:
    frame = noise(*size, pix_fmt)
    for colorspace, color_range in [(2, 0), (1, 1), (5, 2), (6, 0), (9, 1)]:
        frame.colorspace, frame.color_range = colorspace, color_range
        image, expected = Converter().image(frame), frame.to_image()
        assert (image.mode, image.size) == ("RGB", size)
        assert image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("pix_fmt", ["rgb24", "rgb0"])
def test_pictures_that_need_no_conversion_are_images_of_their_own(pix_fmt: str) -> None:
    frame = noise(64, 32, pix_fmt)
    before = frame.to_image().tobytes()
    image = Converter().image(frame)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    assert image.tobytes() == before


def test_an_image_keeps_its_pixels_when_the_next_is_made() -> None:
    converter = Converter()
    frames = [noise(64, 48, "yuv420p") for _ in range(20)]
    images = [converter.image(frame) for frame in frames]
    expected = [frame.to_image().tobytes() for frame in frames]
    del frames
    assert [image.tobytes() for image in images] == expected


def test_an_image_is_used_as_any_other() -> None:
    frame = noise(64, 48, "yuv420p")
    image, expected = Converter().image(frame), frame.to_image()
    assert image.getpixel((63, 47)) == expected.getpixel((63, 47))
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert image.resize((20, 10)).tobytes() == expected.resize((20, 10)).tobytes()
    assert image.convert("L").tobytes() == expected.convert("L").tobytes()
    assert image.crop((3, 4, 50, 40)).tobytes() == expected.crop((3, 4, 50, 40)).tobytes()
    assert image.copy() == expected


def test_who_draws_on_an_image_draws_on_a_copy() -> None:
    image = Converter().image(noise(64, 48, "yuv420p"))
    before = image.tobytes()
    again = Image.Image()._new(image.im)  # another that shares its memory
    again.readonly = image.readonly
    ImageDraw.Draw(again).rectangle((0, 0, 63, 47), fill="red")
    assert again.getpixel((5, 5)) == (255, 0, 0)
    assert image.tobytes() == before


def test_memory_is_given_back_with_the_image_and_used_again() -> None:
    frame, converter, process = noise(1920, 1088, "yuv420p"), Converter(), psutil.Process()
    image = converter.image(frame)
    before = process.memory_info().rss
    for _ in range(40):
        image = converter.image(frame)
    assert process.memory_info().rss - before < 10 * image_bytes(*image.size)
    images = [converter.image(frame) for _ in range(40)]
    assert process.memory_info().rss - before > 35 * image_bytes(*image.size)
    images.clear()
    assert process.memory_info().rss - before < 10 * image_bytes(*image.size)


def test_memory_is_used_again_only_when_all_made_over_it_is_gone() -> None:
    memory = Memory()
    first = memory.take(1000)
    first[:] = 7
    part = first[10:20]
    del first
    second = memory.take(1000)
    second[:] = 8
    assert set(part) == {7}
    address = second.ctypes.data
    del second
    third = memory.take(1000)
    assert third.ctypes.data == address


def test_of_few_sizes_memory_is_kept() -> None:
    memory = Memory()
    for size in range(1000, 1000 + 2 * SPARE_SIZES):
        memory.take(size)
    assert 0 < len(memory._spare) <= SPARE_SIZES


def test_other_widths_than_whole_ones_are_not_tried() -> None:
    assert alike("yuv420p", 64, 48, 2, 0)
    assert not alike("yuv420p", 66, 48, 2, 0)
    assert not alike("yuv420p12le", 64, 48, 2, 0)


def test_a_processor_on_which_the_pixels_differ_gets_them_the_slower_way(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = noise(80, 48, "yuv420p")
    expected = frame.to_image().tobytes()
    over = pixels.over

    def off_by_one(packed: av.VideoFrame) -> Image.Image:
        plane = packed.planes[0]
        plane.update(bytes(value ^ 1 for value in memoryview(plane)))
        return over(packed)

    alike.cache_clear()
    monkeypatch.setattr(pixels, "over", off_by_one)
    try:
        assert Converter().image(frame).tobytes() == expected
    finally:
        alike.cache_clear()
