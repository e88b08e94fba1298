"""A synthetic broadcast: segments of cards, encoded as H.264, every frame marked with the second it is shown in.

`python -m demo.broadcast OUT_DIR --seconds 120 --seed 0` writes `broadcast.mp4` and, beside it, the MMIF files that
`demo.annotations` makes of it. Times are those of the media timeline: presentation timestamps, offset included.
"""

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from demo.cards import COLOURS, KINDS, Card, Jitter, draw_card

NTSC = Fraction(30000, 1001)  # frames a second


@dataclass(frozen=True)
class Segment:
    """A stretch of one kind and colour; seconds on the media timeline, the end excluded."""

    kind: str
    colour: str
    start: float
    end: float


@dataclass(frozen=True)
class Broadcast:
    """A rendered video and what it shows."""

    path: Path
    segments: tuple[Segment, ...]
    fps: Fraction
    offset_frames: int  # the presentation timestamp of the first frame, in frames
    frames: int

    def frame_time(self, index: int) -> Fraction:
        """The presentation timestamp of a frame, in seconds."""
        return (self.offset_frames + index) / self.fps

    def nearest_frame(self, ms: float) -> int:
        """The number of the frame whose timestamp is nearest to `ms`; of two as near, the later.

        :raises ValueError: if `ms` is more than a frame outside the video
        """
        index = math.floor(Fraction(ms) / 1000 * self.fps - self.offset_frames + Fraction(1, 2))
        if not -1 <= index <= self.frames:
            raise ValueError(f"{ms} ms is outside {self.path.name}")
        return min(max(index, 0), self.frames - 1)

    def card_at(self, ms: float) -> Card:
        """What the frame nearest to `ms` milliseconds shows."""
        return card_of(self.segments, self.frame_time(self.nearest_frame(ms)))

    def expected_phrase(self, ms: float) -> str:
        """What the demo model says of the frame nearest to `ms` milliseconds, `slate 0042 blue`."""
        return self.card_at(ms).phrase

    def expected_caption(self, instants: Sequence[float]) -> str:
        """What the demo model says of the frames nearest to several instants in ms, in that order."""
        return "; ".join(self.expected_phrase(ms) for ms in instants)


def card_of(segments: Sequence[Segment], seconds: Fraction | float) -> Card:
    """What a frame shown at a time shows: the last segment goes on for ever, the first reaches back."""
    current = segments[0]
    for segment in segments:
        if segment.start <= seconds:
            current = segment
    return Card(current.kind, current.colour, math.floor(seconds))


def make_segments(seconds: int, seed: int = 0, start: int = 0) -> tuple[Segment, ...]:
    """A running order: bars, a slate, then programme, chyrons and credits of 3 to 12 seconds; whole seconds.

    :param seconds: the length of it all; kinds and colours of neighbours always differ
    :param start: the second of the media timeline at which it begins
    """
    rng = random.Random(seed)
    segments: list[Segment] = []
    at, end = start, start + seconds
    while at < end:
        number = len(segments)
        before = segments[-1] if segments else None
        if number < 2:
            kind = ("bars", "slate")[number]
        else:
            kind = rng.choice([kind for kind in KINDS if before is None or kind != before.kind])
        colour = rng.choice([colour for colour in COLOURS if before is None or colour != before.colour])
        until = min(end, at + rng.randint(3, 12))
        segments.append(Segment(kind, colour, at, until))
        at = until
    return tuple(segments)


def render(
    path: Path,
    segments: Sequence[Segment],
    *,
    size: tuple[int, int] = (640, 480),
    fps: Fraction = NTSC,
    gop: int = 30,
    offset_frames: int = 0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Broadcast:
    """Encodes segments as a video file; the container follows from the suffix.

    :param size: width and height in px, both even
    :param fps: frames a second
    :param gop: frames from one key frame to the next
    :param offset_frames: the first frame's presentation timestamp, in frames; segments that end before are not shown
    :param codec: any video encoder of PyAV's that takes yuv420p
    :param options: for the encoder; by default fast settings for H.264 and fixed threads, so that the same arguments
        give the same bytes
    :returns: what was written
    """
    total = math.ceil(Fraction(segments[-1].end) * fps) - offset_frames
    if total < 1:
        raise ValueError(f"nothing to show: the segments end before frame {offset_frames}")
    if options is None:
        options = {"preset": "veryfast", "crf": "23", "threads": "1"} if codec == "libx264" else {"threads": "1"}
    broadcast = Broadcast(path, tuple(segments), fps, offset_frames, total)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = 1 / fps
        shown: Card | None = None
        picture: av.VideoFrame | None = None
        for index in range(total):
            card = card_of(segments, broadcast.frame_time(index))
            if card != shown or picture is None:
                shown = card
                drawn = draw_card(card, size, Jitter(scene=scene_of(card)))
                picture = av.VideoFrame.from_image(drawn).reformat(format="yuv420p")
            picture.pts = offset_frames + index
            picture.time_base = 1 / fps
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return broadcast


def scene_of(card: Card) -> int:
    """The invented names and scenery of a card: one for each kind and colour, so that a segment holds still."""
    return 1 + KINDS.index(card.kind) * len(COLOURS) + list(COLOURS).index(card.colour)


def main() -> None:
    """The command line."""
    from demo.annotations import interval_mmif, swt_mmif

    parser = argparse.ArgumentParser(description="Renders a synthetic broadcast and its MMIF files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gop", type=int, default=30, help="frames between key frames")
    parser.add_argument("--offset-frames", type=int, default=0, help="timestamp of the first frame, in frames")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    broadcast = render(
        arguments.folder.resolve() / "broadcast.mp4",
        make_segments(arguments.seconds, arguments.seed),
        gop=arguments.gop,
        offset_frames=arguments.offset_frames,
    )
    (arguments.folder / "swt.mmif").write_text(swt_mmif(broadcast))
    for unit in ("milliseconds", "seconds", "frames"):
        (arguments.folder / f"{unit}.mmif").write_text(interval_mmif(broadcast, unit=unit))
    for segment in broadcast.segments:
        print(f"{segment.start:6} {segment.end:6}  {segment.kind} {segment.colour}")


if __name__ == "__main__":
    main()
