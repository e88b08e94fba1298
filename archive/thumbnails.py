"""Pictures of a sheet's rows, read from its videos."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from archive.sheet import Row, Sheet, Thumbnail
from sampling.video import ByteBudget, Frame, VideoError, read_groups

WIDTH = 240  # px
PREVIEW_WIDTH = 112  # px
MOST = 6  # of a row; with tfSamplingMode=all a model sees dozens that look alike

# WebP at 60 is half of what JPEG takes where it looks as good: 4 to 5 KiB for a frame of video of this width.
_QUALITY = 60
_PREVIEW_QUALITY = 45


@dataclass(frozen=True)
class Illustrated:
    """
    A sheet with its pictures.

    :param lost: why there are none of a video, by the video's id
    """

    sheet: Sheet
    lost: dict[str, str]


def illustrate(sheet: Sheet, budget: ByteBudget) -> Illustrated:
    """
    Add thumbnails and previews to the rows of a sheet, as far as its videos can be read.

    :param budget: of the bytes that decoded frames may hold
    """
    drawn: dict[str, Row] = {}
    lost: dict[str, str] = {}
    for video in sheet.videos:
        rows = [row for row in sheet.rows if row.document == video.id and row.times]
        if not rows:
            continue
        path = video.path()
        if path is None:
            lost[video.id] = "it is not where the MMIF says"
            continue
        try:
            drawn |= {row.anchor: row for row in with_thumbnails(rows, path, budget)}
        except VideoError as error:
            lost[video.id] = str(error)
    return Illustrated(replace(sheet, rows=tuple(drawn.get(row.anchor, row) for row in sheet.rows)), lost)


def with_thumbnails(rows: Sequence[Row], path: Path, budget: ByteBudget) -> Iterator[Row]:
    """
    Read some frames of each of ``rows``, all of one video, and yield these with their thumbnails, in no certain order.

    :raises VideoError: if the video can't be opened
    """
    chosen = [spread(row.times, MOST) for row in rows]
    with read_groups(path, chosen, budget=budget) as groups:
        for group in groups:
            with group:
                thumbnails = tuple(
                    Thumbnail(ms, _picture(frame, WIDTH, _QUALITY) if frame else "")
                    for ms, frame in zip(chosen[group.index], group.frames, strict=True)
                )
                seen = [frame for frame in group.frames if frame]
                preview = _picture(seen[len(seen) // 2], PREVIEW_WIDTH, _PREVIEW_QUALITY) if seen else ""
            yield replace(rows[group.index], thumbnails=thumbnails, preview=preview)


def spread(times: Sequence[int], most: int) -> tuple[int, ...]:
    """Choose up to ``most`` of them, evenly spread."""
    count = min(most, len(times))
    return tuple(times[(2 * number + 1) * len(times) // (2 * count)] for number in range(count))


def _picture(frame: Frame, width: int, quality: int) -> str:
    small = frame.image.copy()
    small.thumbnail((width, width), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    small.save(content, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()
