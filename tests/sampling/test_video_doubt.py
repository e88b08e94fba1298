"""Whatever the quick way stumbles over, the pictures are those of the slow one."""

import dataclasses
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from sampling import exact, video
from sampling.request import Request
from sampling.source import Landing, Source
from sampling.video import ByteBudget, VideoError, read_groups
from tests.sampling.test_video_equality import by_the_sdk
from tests.sampling.video_files import PYRAMID, Recipe, make
from tests.sampling.watching import Spy, leftovers, numbers

pytestmark = pytest.mark.usefixtures("nothing_is_left")

GROUPS = [[1000], [1040, 1400], [5000], [9960]]
NUMBERS = [[25], [26, 35], [125], [249]]


class Elsewhere(Source):
    """A seek does not come down twice at one place."""

    def landing(self, packet: av.Packet) -> Landing:
        self.times = getattr(self, "times", 0) + 1
        return dataclasses.replace(super().landing(packet), pos=self.times)


class NoSeek(Source):
    """Seeking fails while it is found out where it comes down."""

    def seek(self, ticks: int) -> None:
        raise av.error.InvalidDataError(0, "no seek")


class Twice(Source):
    """Each picture is there twice."""

    def packets(self) -> Iterator[av.Packet]:
        for packet in super().packets():
            yield packet
            yield packet


class Late(Source):
    """The first picture comes after the instant, though the seek was to come down before it."""

    def packets(self) -> Iterator[av.Packet]:
        for number, packet in enumerate(super().packets()):
            if number == 0:
                packet.pts = packet.pts + 100_000
            yield packet

    def landing(self, packet: av.Packet) -> Landing:
        return dataclasses.replace(super().landing(packet), pts=0, closed=False)


class Unordered(Source):
    """The decoder holds back fewer pictures than it would have to."""

    def keeps_order(self, depth: int, sent: int) -> bool:
        return False


class Codec:
    """A decoder that fails, or keeps what it is given."""

    def __init__(self, codec: Any, decode: Callable[[Any], Any]) -> None:
        self._codec = codec
        self.decode = decode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)


class Fails(Source):
    """The decoder fails."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.codec = Codec(self.codec, self.decode)

    def decode(self, packet: Any) -> Any:
        raise av.error.InvalidDataError(0, "no picture")


class Keeps(Fails):
    """No picture comes out of the decoder."""

    def decode(self, packet: Any) -> Any:
        return []


@pytest.mark.parametrize("faulty", [Elsewhere, NoSeek, Twice, Late, Unordered, Fails, Keeps])
def test_pictures_are_right_all_the_same(
    long_video: Path, monkeypatch: pytest.MonkeyPatch, faulty: type[Source]
) -> None:
    spy = Spy(monkeypatch)
    monkeypatch.setattr(video, "Source", faulty)  # of the quick way; the slow one opens files anew
    budget = ByteBudget()
    with read_groups(long_video, GROUPS, budget=budget, readers=1) as reader:
        found = {}
        for group in reader:
            with group:
                found[group.index] = numbers(group)
    assert [found[index] for index in range(len(GROUPS))] == NUMBERS
    assert spy.exact > 0
    assert budget.held == 0


def test_pictures_in_front_of_an_edit_list_are_not_shown(folder: Path) -> None:
    """Such a file is cut without being encoded anew: what lies in front of the cut is decoded, and not shown."""
    whole = make(Recipe("edited", "mp4", options=PYRAMID), folder)
    path = folder / "edit-list.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        cut = 10 * round(1 / stream.average_rate / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - cut, packet.dts - cut, copy
                target.mux(packet)
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    groups = [[ms] for ms in range(0, 2000, 40)]
    with read_groups(path, groups, budget=ByteBudget(), readers=1) as reader:
        for group in reader:
            (image,) = by_the_sdk(path, groups[group.index])
            (frame,) = group.frames
            assert (frame and frame.image.tobytes()) == (image and image.tobytes()), groups[group.index]


def test_a_file_without_pictures_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    with pytest.raises(VideoError, match=r"sound\.wav: it holds no video stream"):
        list(read_groups(path, [[0]], budget=ByteBudget()))
    assert leftovers() == []


class Full:
    """Takes no picture, as the reader's desk when a call is stopped, and notes which requests are finished."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.finished: list[int] = []

    def put(self, request: Request, ms: int, frame: av.VideoFrame, source: Source, wait: bool) -> bool:
        self.asked.append(ms)
        return False

    def finish(self, request: Request, errors: tuple[str, ...] = ()) -> None:
        self.finished.append(request.index)


def request(path: Path, *instants: int) -> Request:
    source = Source(path)
    try:
        return Request(0, instants, tuple((source.ticks(ms), ms) for ms in instants))
    finally:
        source.close()


def never() -> bool:
    return False


@pytest.mark.parametrize("instants", [(1000, 1040), (15_990, 15_995)], ids=["in the middle", "at the end"])
def test_the_slow_way_ends_with_the_first_picture_that_is_not_taken(long_video: Path, instants: tuple[int]) -> None:
    sink = Full()
    exact.read(long_video, request(long_video, *instants), sink, never)
    assert sink.asked == [instants[0]]


def test_the_slow_way_can_be_cancelled(long_video: Path) -> None:
    sink = Full()
    exact.read(long_video, request(long_video, 1000), sink, lambda: True)
    assert (sink.asked, sink.finished) == ([], [])


class Taken(Full):
    """Takes all."""

    def put(self, request: Request, ms: int, frame: av.VideoFrame, source: Source, wait: bool) -> bool:
        self.asked.append(ms)
        self.images = [*getattr(self, "images", []), source.image(frame)]
        return True


def test_pictures_without_a_time_are_passed_over(long_video: Path) -> None:
    source, sink, asked = Source(long_video), Taken(), request(long_video, 1000)

    def frames() -> Iterator[av.VideoFrame]:
        yield av.VideoFrame.from_image(Image.new("RGB", (192, 144)))
        yield from exact._frames(source, asked.first, [], never)

    try:
        assert exact._choose(source, frames(), asked, asked.targets, sink) == []
    finally:
        source.close()
    assert sink.images[0].getextrema() != ((0, 0), (0, 0), (0, 0))


def test_all_that_a_decoder_says_at_its_end_is_told(long_video: Path) -> None:
    errors: list[str] = []
    source = NoSeek(long_video)
    source.codec = Codec(source.codec, Fails.decode.__get__(source))
    try:
        assert list(exact._frames(source, 0, errors, never)) == []
    finally:
        source.close()
    assert [error.partition(":")[0] for error in errors] == ["InvalidDataError", "InvalidDataError"]
