"""What one output MMIF says, as pages and exports have it: segments, and what each pass says of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmif import Document

from captioning.videos import locate, rate_of

Scalar = str | int | float | bool


def probability(value: Any) -> float | None:
    """Return a value that is a probability; ``None`` if it isn't one."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 else None


@dataclass(frozen=True)
class Pass:
    """
    What was asked of a file's segments in one go.

    :param name: by which captions and warnings refer to it
    :param model: what answered, as ``id@revision``
    :param labels: of the TimeFrames that it was asked of; none for all
    :param prompt: its turns
    """

    name: str
    model: str
    labels: tuple[str, ...]
    prompt: tuple[str, ...]


@dataclass(frozen=True)
class Remark:
    """A warning, and the name of the pass that gave it."""

    pass_name: str
    text: str

    @property
    def kind(self) -> str:
        """What it says without what it says it of: alike for all warnings with the same cause."""
        words = ["…" if re.search(r"\d|[/\\]", word) else word for word in self.text.split()]
        return re.sub(r"…(?:[ ,]+…)+", "…", " ".join(words))


@dataclass(frozen=True)
class Caption:
    """
    One TextDocument.

    :param id: of the TextDocument
    :param marks: what else it says of itself: its ``finishReason`` if it was cut, the ``longestEdge`` that its
        frames were shrunk to, and whatever else an app may add
    :param mime: media type of the text, if it says
    :param choices: the texts that it was chosen from, each with its probability, if it says
    """

    id: str
    pass_name: str
    text: str
    marks: Mapping[str, Scalar] = field(default_factory=dict)
    mime: str = ""
    choices: Mapping[str, float] = field(default_factory=dict)

    @property
    def confidence(self) -> float | None:
        """How sure the model was of it, 0 to 1; ``None`` if it doesn't say."""
        return probability(self.marks.get("confidence"))


@dataclass(frozen=True)
class Thumbnail:
    """
    A frame that the model saw.

    :param ms: its time on the media timeline
    :param source: a picture as a ``data:`` address; empty if the frame can't be read any more
    """

    ms: int
    source: str


@dataclass(frozen=True)
class Row:
    """
    A TimeFrame, or the part of one that a caption is about, and what the passes say of the same frames of it.

    :param anchor: names the row within its file; the first of a TimeFrame has ``tf-`` and the TimeFrame's id
    :param time_frame: its id
    :param document: id of the video
    :param span: start and end in ms; ``None`` if it does not say
    :param times: of the frames, in ms
    :param captions: in the order of the passes; none if there are only warnings
    :param remarks: warnings that name the TimeFrame
    :param thumbnails: of some of the frames
    :param preview: one of them once more, very small
    """

    anchor: str
    time_frame: str
    label: str
    document: str
    span: tuple[int, int] | None
    times: tuple[int, ...]
    captions: tuple[Caption, ...] = ()
    remarks: tuple[Remark, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = field(default=(), repr=False)
    preview: str = field(default="", repr=False)

    @property
    def start(self) -> int | None:
        """When it begins, in ms; ``None`` if that is not known."""
        return self.span[0] if self.span else min(self.times, default=None)


@dataclass(frozen=True)
class Video:
    """
    A VideoDocument.

    :param location: as the file has it
    """

    id: str
    location: str
    document: Mapping[str, Any] = field(repr=False, compare=False)

    def path(self) -> Path | None:
        """Where it is; ``None`` if its location does not lead to a file."""
        try:
            return locate(Document(self.document))
        except Exception:  # the location comes from anywhere, and is resolved by anybody's plugin
            return None

    def rate(self) -> float | None:
        """Its frames per second; ``None`` if neither the document nor its file says."""
        try:
            return rate_of(Document(self.document), self.path() or Path())
        except Exception:
            return None


@dataclass(frozen=True)
class Sheet:
    """
    What one file says.

    :param videos: in the order of the file
    :param rows: by video, then by time
    :param remarks: all warnings, each once
    :param errors: of calls that failed altogether
    """

    passes: tuple[Pass, ...]
    videos: tuple[Video, ...]
    rows: tuple[Row, ...]
    remarks: tuple[Remark, ...]
    errors: tuple[str, ...] = ()
