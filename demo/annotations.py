"""MMIF files about a synthetic broadcast, in the forms in which TimeFrames reach a captioner."""

from collections.abc import Sequence
from typing import Literal

from mmif import AnnotationTypes, Document, DocumentTypes, Mmif, View

from demo.broadcast import Broadcast, Segment

Unit = Literal["milliseconds", "seconds", "frames"]
DocumentPlace = Literal["contains", "annotation", "timepoints"]

SWT = "http://apps.clams.ai/swt-detection/v7.5"
TIMESTAMP = "2024-01-01T00:00:00+00:00"  # fixed, so that the same broadcast gives the same file
POINT_LABELS = {"bars": "B", "slate": "S", "chyron": "I", "credits": "C", "programme": "NEG"}


def _with_video(broadcast: Broadcast) -> Mmif:
    mmif = Mmif(validate=False)
    video = Document()
    video.at_type = DocumentTypes.VideoDocument
    video.id = "d1"
    video.location = f"file://{broadcast.path}"
    video.add_property("mime", "video/mp4")
    mmif.add_document(video)
    return mmif


def _new_view(mmif: Mmif) -> View:
    view = mmif.new_view()
    view.metadata.app = SWT
    view.metadata.timestamp = TIMESTAMP
    return view


def instants_of(broadcast: Broadcast, segment: Segment, first_ms: int = 500, step_ms: int = 1000) -> list[int]:
    """The TimePoints of a segment in ms: those of a regular grid over the video that fall into it.

    By default the middles of its seconds, where no rounding can reach the next second's frame.
    """
    start = max(segment.start * 1000, float(broadcast.frame_time(0)) * 1000)
    end = min(segment.end * 1000, float(broadcast.frame_time(broadcast.frames)) * 1000)
    first = first_ms + max(0, -((first_ms - start) // step_ms)) * step_ms
    return list(range(int(first), int(-(-end // 1)), step_ms))


def representatives_of(instants: Sequence[int], most: int = 3) -> list[int]:
    """Up to `most` of a segment's instants, evenly spread."""
    count = min(most, len(instants))
    return [instants[(2 * i + 1) * len(instants) // (2 * count)] for i in range(count)]


def swt_mmif(
    broadcast: Broadcast,
    *,
    first_ms: int = 500,
    step_ms: int = 1000,
    representatives: int = 3,
    labels: Sequence[str] | None = None,
    document: DocumentPlace = "contains",
    one_view: bool = False,
) -> str:
    """What the app swt-detection says of a broadcast: classified TimePoints, and TimeFrames made of them.

    TimeFrames have `targets` and `representatives`, and neither `start` nor `end`.

    :param first_ms: the first TimePoint, in ms
    :param step_ms: from one TimePoint to the next, in ms
    :param representatives: how many a TimeFrame has at most; with 0 the property is left out
    :param labels: the kinds that get a TimeFrame; by default all
    :param document: where the video's id stands: in both types' `contains`, on every annotation, or on TimePoints
    :param one_view: both types in one view instead of a view each
    :returns: MMIF as JSON
    """
    mmif = _with_video(broadcast)
    shared = {"document": "d1"} if document == "contains" else {}
    points = _new_view(mmif)
    points.new_contain(
        AnnotationTypes.TimePoint, timeUnit="milliseconds", labelset=list(POINT_LABELS.values()), **shared
    )
    frames = points if one_view else _new_view(mmif)
    frames.new_contain(AnnotationTypes.TimeFrame, timeUnit="milliseconds", labelset=list(POINT_LABELS), **shared)
    number = 0
    kept: list[tuple[Segment, list[int], dict[int, str]]] = []
    for segment in broadcast.segments:
        ids: dict[int, str] = {}
        for ms in instants_of(broadcast, segment, first_ms, step_ms):
            number += 1
            own = {} if document == "contains" else {"document": "d1"}
            ids[ms] = _add_time_point(points, f"tp_{number}", ms, POINT_LABELS[segment.kind], own)
        if ids and (labels is None or segment.kind in labels):
            kept.append((segment, representatives_of(list(ids), representatives) if representatives else [], ids))
    for index, (segment, chosen, ids) in enumerate(kept, start=1):
        extra: dict[str, object] = {"document": "d1"} if document == "annotation" else {}
        if chosen:
            extra["representatives"] = [ids[ms] for ms in chosen]
        frames.new_annotation(
            AnnotationTypes.TimeFrame,
            f"tf_{index}",
            label=segment.kind,
            classification={segment.kind: 0.992},
            targets=list(ids.values()),
            **extra,
        )
    return mmif.serialize(pretty=True)


def _add_time_point(view: View, name: str, ms: int, label: str, own: dict[str, str]) -> str:
    scores = dict.fromkeys(POINT_LABELS.values(), 0.002) | {label: 0.992}
    made = view.new_annotation(AnnotationTypes.TimePoint, name, timePoint=ms, label=label, classification=scores, **own)
    return str(made.id)


def interval_mmif(
    broadcast: Broadcast,
    *,
    unit: Unit = "milliseconds",
    labels: Sequence[str] | None = None,
    document: Literal["contains", "annotation"] = "annotation",
    unit_on: Literal["contains", "annotation"] = "contains",
) -> str:
    """TimeFrames with `start` and `end` only, without TimePoints.

    :param unit: of `start` and `end`
    :param labels: the kinds that get a TimeFrame; by default all
    :param document: where the video's id stands
    :param unit_on: where `timeUnit` stands
    :returns: MMIF as JSON
    """
    mmif = _with_video(broadcast)
    view = _new_view(mmif)
    shared = {"document": "d1"} if document == "contains" else {}
    if unit_on == "contains":
        shared["timeUnit"] = unit
    view.new_contain(AnnotationTypes.TimeFrame, **shared)
    own = {"document": "d1"} if document == "annotation" else {}
    if unit_on == "annotation":
        own["timeUnit"] = unit
    shown = [segment for segment in broadcast.segments if labels is None or segment.kind in labels]
    for index, segment in enumerate(shown, start=1):
        start, end = (convert(seconds, unit, broadcast) for seconds in (segment.start, segment.end))
        view.new_annotation(AnnotationTypes.TimeFrame, f"tf_{index}", label=segment.kind, start=start, end=end, **own)
    return mmif.serialize(pretty=True)


def convert(seconds: float, unit: Unit, broadcast: Broadcast) -> int | float:
    """A time in the given unit: whole milliseconds, seconds, or frames at the broadcast's rate."""
    if unit == "milliseconds":
        return round(seconds * 1000)
    if unit == "seconds":
        return float(seconds)
    return round(seconds * broadcast.fps)
