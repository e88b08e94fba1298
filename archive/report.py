"""A contact sheet: one self-contained HTML page with the captions of a MMIF, each beside its frames."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jinja2
from mmif import AnnotationTypes, DocumentTypes, Mmif, View
from PIL import Image

from sampling.video import ByteBudget, VideoError, read_groups

THUMBNAIL_WIDTH = 240  # px
_JPEG_QUALITY = 78

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class Thumbnail:
    """
    A frame that the model saw.

    :param ms: its time on the media timeline
    :param source: a JPEG as a ``data:`` address; empty if the frame can't be read any more
    """

    ms: int
    source: str


@dataclass(frozen=True)
class Row:
    """
    One caption.

    :param time_frame: id of the TimeFrame
    :param label: of the TimeFrame
    :param document: id of the video
    :param times: of its frames, in ms
    :param finish_reason: ``length`` if the caption was cut, otherwise empty
    """

    time_frame: str
    label: str
    document: str
    times: tuple[int, ...]
    caption: str
    finish_reason: str = ""
    thumbnails: tuple[Thumbnail, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Sheet:
    """
    What one page shows.

    :param model: what made the captions, as ``id@revision``
    :param videos: location of each video by its id
    :param rows: in the order of the captions
    :param warnings: of the runs that made them
    """

    model: str
    videos: dict[str, str]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def read_sheet(mmif: Mmif, app: str) -> Sheet:
    """
    Collect the captions of all views of an app, without pictures.

    :param app: how the app's identifier begins, its version left open
    """
    views = [view for view in mmif.views if str(view.metadata.app).startswith(app)]
    rows = tuple(row for view in views for row in _rows(mmif, view))
    models = {str(view.metadata.appConfiguration.get("model", "")) for view in views if view.metadata.appConfiguration}
    videos = {d.id: str(d.location or "") for d in mmif.get_documents_by_type(DocumentTypes.VideoDocument)}
    warnings = tuple(str(warning) for view in views for warning in view.metadata.warnings)
    return Sheet(", ".join(sorted(models)), videos, rows, warnings)


def with_thumbnails(rows: Sequence[Row], path: Path, budget: ByteBudget) -> Iterator[Row]:
    """
    Read the frames of ``rows``, all of one video, and yield the rows with their thumbnails, in their order.

    :param path: the video; where it can't be read, the thumbnails stay empty
    """
    made: dict[int, tuple[Thumbnail, ...]] = {}
    try:
        with read_groups(path, [row.times for row in rows], budget=budget) as groups:
            for group in groups:
                with group:
                    made[group.index] = tuple(
                        Thumbnail(ms, _jpeg(frame.image) if frame is not None else "")
                        for ms, frame in zip(rows[group.index].times, group.frames, strict=True)
                    )
    except VideoError:
        pass
    for index, row in enumerate(rows):
        thumbnails = made.get(index, tuple(Thumbnail(ms, "") for ms in row.times))
        yield replace(row, thumbnails=thumbnails)


def render(sheet: Sheet, title: str) -> str:
    """Return the page as HTML: no scripts, styles or pictures from elsewhere."""
    labels: dict[str, int] = {}
    for row in sheet.rows:
        labels[row.label] = labels.get(row.label, 0) + 1
    return _templates.get_template("sheet.html").render(sheet=sheet, title=title, labels=labels, clock=clock)


def clock(ms: int) -> str:
    """Write a time as hours, minutes and seconds: ``0:01:02.5``."""
    seconds, rest = divmod(ms, 1000)
    tenths = f".{rest // 100}" if rest else ""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}{tenths}"


def _rows(mmif: Mmif, view: View) -> Iterator[Row]:
    sources = {
        a.get_property("target"): a.get_property("source") for a in view.get_annotations(AnnotationTypes.Alignment)
    }
    for text in view.get_annotations(DocumentTypes.TextDocument):
        time_frame = mmif[sources[text.id]]
        yield Row(
            time_frame=time_frame.id,
            label=str(time_frame.get_property("label") or ""),
            document=str(text.get_property("document")),
            times=tuple(mmif[origin].get_property("timePoint") for origin in text.get_property("origins")),
            caption=text.text_value,
            finish_reason=str(text.get_property("finishReason") or ""),
        )


def _jpeg(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
