"""Looking over the reader's shoulder: what it leaves behind, which images exist, what it decodes and hands over."""

import threading
import weakref
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from sampling import exact, video
from sampling.pixels import image_bytes
from sampling.source import Source
from sampling.video import FrameGroup
from tests.sampling.video_files import PYRAMID, Recipe, number_of

SIZE = (192, 144)


FRAME_BYTES = image_bytes(*SIZE)


LONG = Recipe("long", "mp4", frames=400, gop=50, options=PYRAMID)


def leftovers() -> list[str]:
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("frames-")]
    return threads + [file.path for file in psutil.Process().open_files() if Path(file.path).suffix in {".mp4", ".mkv"}]


def chunks(frames: int, size: int, rate: int = 25) -> list[list[int]]:
    """Every frame of a video, in groups."""
    return [
        [number * 1000 // rate for number in range(start, min(start + size, frames))]
        for start in range(0, frames, size)
    ]


def numbers(group: FrameGroup) -> list[int | None]:
    return [frame and number_of(frame.image) for frame in group.frames]


class LiveImages:
    """Counts the bytes of the images that exist, whoever knows them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        self.lock = threading.RLock()
        make_image = Source.image

        def counted(source: Source, frame: Any) -> Image.Image:
            image = make_image(source, frame)
            size = image_bytes(image.width, image.height)
            self.add(size)
            weakref.finalize(image, self.add, -size)
            return image

        monkeypatch.setattr(Source, "image", counted)

    def add(self, size: int) -> None:
        with self.lock:
            self.now += size
            self.most = max(self.most, self.now)


class Spy:
    """Notes in order what the decoder is given and which groups are handed over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, int]] = []
        self.exact = 0
        spy = self

        class Codec:
            def __init__(self, codec: Any) -> None:
                self.codec = codec

            def __getattr__(self, name: str) -> Any:
                return getattr(self.codec, name)

            def decode(self, packet: Any) -> Any:
                if packet is not None:
                    spy.events.append(("key" if packet.is_keyframe else "packet", packet.pts))
                return self.codec.decode(packet)

        class Spied(Source):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self.codec = Codec(self.codec)

        hand_over, read = video._Desk._hand_over, exact.read

        def noted(desk: video._Desk, group: FrameGroup) -> None:
            self.events.append(("group", group.index))
            hand_over(desk, group)

        def counted(*arguments: Any) -> None:
            self.exact += 1
            read(*arguments)

        monkeypatch.setattr(video, "Source", Spied)
        monkeypatch.setattr(video._Desk, "_hand_over", noted)
        monkeypatch.setattr(exact, "read", counted)

    def given(self) -> list[int]:
        """Timestamps of the packets that were decoded, in seconds/12800."""
        return [pts for kind, pts in self.events if kind != "group"]
