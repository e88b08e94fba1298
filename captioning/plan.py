"""The TimeFrames of a MMIF to the prompts of a call. Decodes nothing."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clams.app import ClamsPromptableApp, PromptTask
from mmif import Annotation, AnnotationTypes, Document, DocumentTypes, Mmif
from mmif.utils.timeunit_helper import convert

from captioning.fetching import Fetch
from captioning.parameters import Parameters
from captioning.places import ANYWHERE, ForbiddenPlace, Places
from captioning.running import OutOfTime, RunningCall
from captioning.videos import locate, rate_of
from captioning.warning import CaptionWarning, Cause
from sampling.source import VideoError
from sampling.timepoints import Instant, Segment, instants

_MOST_MS = 2**40  # 34 years: a time that is still one of 64 bits in the ticks of any video


@dataclass(frozen=True)
class Task:
    """
    One prompt to come, and one TextDocument.

    :param time_frame: id of the TimeFrame that the caption will be aligned to
    :param document: id of the video's document
    :param path: the video's file
    :param instants: when to look, in frame order
    :param span: start and end of the TimeFrame, in ms
    :param part: which of the TimeFrame's prompts it is, from 0
    """

    time_frame: str
    document: str
    path: Path
    instants: tuple[Instant, ...]
    span: tuple[int, int]
    part: int = 0


@dataclass
class Plan:
    """
    What a call has to do.

    :param tasks: the prompts, in the order of the TimeFrames in the input
    :param warnings: what the caller should know of TimeFrames that yield no prompt
    :param failures: how many of these were asked for and can't be captioned
    """

    tasks: list[Task] = field(default_factory=list)
    warnings: list[CaptionWarning] = field(default_factory=list)
    failures: int = 0


def plan(
    mmif: Mmif,
    parameters: Parameters,
    places: Places = ANYWHERE,
    fetch: Fetch | None = None,
    running: RunningCall | None = None,
) -> Plan:
    """
    Turn the TimeFrames that ``parameters`` select into tasks.

    :param places: where videos may be read from
    :param fetch: fetches those with a URL; see :func:`captioning.videos.locate`
    :param running: the call that it is for. TimeFrames that its deadline comes before have a warning
    :raises ValueError: if the MMIF holds no video
    :raises CallCancelled: if the call was cancelled, but not by its deadline
    """
    call = running or RunningCall()
    videos = {document.id: document for document in mmif.get_documents_by_type(DocumentTypes.VideoDocument)}
    if not videos:
        raise ValueError("The input MMIF has no VideoDocument; this app captions TimeFrames of videos.")
    located = functools.partial(_located, places=places, fetch=fetch)
    rates = _Rates()
    made = Plan()
    missing: dict[tuple[str, Cause], list[str]] = {}
    for time_frame in _selected(mmif, parameters.labels, made):
        try:
            call.go_on()
            task = _task(mmif, time_frame, parameters, videos, located, rates)
        except _NotAVideo:
            continue
        except (ValueError, KeyError, TypeError) as error:
            made.failures += 1
            made.warnings.append(not_captioned([time_frame.id], f"{_text(error)}.", Cause.UNUSABLE_TIME_FRAME))
            continue
        except OutOfTime as error:
            missing.setdefault((str(error), Cause.DEADLINE), []).append(time_frame.id)
            continue
        except (OSError, RuntimeError, VideoError) as error:
            cause = Cause.FORBIDDEN_PLACE if isinstance(error, ForbiddenPlace) else Cause.UNREADABLE_VIDEO
            missing.setdefault((str(error), cause), []).append(time_frame.id)
            continue
        if task.instants:
            made.tasks.extend(_chunks(task, parameters))
        else:
            made.warnings.append(
                CaptionWarning(
                    f"TimeFrame {time_frame.id} was skipped: it has no representatives. "
                    'Set tfSamplingMode to "single" or "all" to caption it.',
                    Cause.NO_REPRESENTATIVES,
                    [time_frame.id],
                )
            )
    for (reason, cause), skipped in missing.items():
        made.failures += len(skipped)
        made.warnings.append(not_captioned(skipped, reason, cause))
    return made


def not_captioned(time_frames: Iterable[str], reason: str, cause: Cause) -> CaptionWarning:
    """Word the warning that ``time_frames`` have no caption, all for the same reason; one may be named repeatedly."""
    names = list(dict.fromkeys(time_frames))
    if len(names) == 1:
        return CaptionWarning(f"TimeFrame {names[0]} was not captioned: {reason}", cause, names)
    return CaptionWarning(f"{len(names)} TimeFrames were not captioned ({', '.join(names)}): {reason}", cause, names)


class _NotAVideo(Exception):
    pass


class _Rates:
    """The frame rates of videos, or why there is none, looked up once: it may take to open the file."""

    def __init__(self) -> None:
        self._known: dict[str, float | Exception] = {}

    def of(self, document: Document, path: Path) -> float:
        """As :func:`captioning.videos.rate_of`."""
        if document.id not in self._known:
            try:
                self._known[document.id] = rate_of(document, path)
            except (ValueError, OSError, RuntimeError, VideoError) as error:
                self._known[document.id] = error
        known = self._known[document.id]
        if isinstance(known, Exception):
            raise known
        return known


def _selected(mmif: Mmif, labels: frozenset[str], made: Plan) -> Iterator[Annotation]:
    found: set[str] = set()
    any_matched = False
    for view in mmif.views:
        for time_frame in view.get_annotations(AnnotationTypes.TimeFrame):
            label = time_frame.get_property("label")
            found.add(str(label))
            if labels and not isinstance(label, str | None):
                odd = not_captioned(
                    [time_frame.id], "its label is no text, as tfLabels are.", Cause.UNUSABLE_TIME_FRAME
                )
                made.warnings.append(odd)
            elif not labels or label in labels:
                any_matched = True
                yield time_frame
    if not any_matched:
        text = "The input has no TimeFrame; run an app that finds segments first."
        if found:
            text = f"No TimeFrame has the label {_listed(labels)}; the input has {_listed(found)}. See tfLabels."
        made.warnings.append(CaptionWarning(text, Cause.NOTHING_SELECTED))


def _listed(labels: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(labels))


def _task(
    mmif: Mmif,
    time_frame: Annotation,
    parameters: Parameters,
    videos: dict[str, Document],
    located: Callable[[Document], Path],
    rates: _Rates,
) -> Task:
    points = {name: _time_points(mmif, time_frame, name) for name in ("representatives", "targets")}
    document = _document(mmif, time_frame, points["targets"] + points["representatives"], videos)
    path = located(document)

    def frame_rate() -> float:
        return rates.of(document, path)

    def in_ms(value: Any, unit: str) -> int:
        # The SDK asks for the frame rate whatever the unit is, and opens the video for it.
        rate = frame_rate() if unit.startswith("f") else 0.0
        try:
            ms = float(convert(value, unit, "ms", rate))
        except (TypeError, OverflowError):
            ms = math.nan
        if not abs(ms) <= _MOST_MS:
            raise ValueError(f"{value} is no time in {unit} that a video could have")
        return round(ms)

    segment = Segment(
        representatives=_instants(points["representatives"], in_ms),
        targets=_instants(points["targets"], in_ms),
        interval=_interval(mmif, time_frame, in_ms),
    )
    chosen = instants(segment, parameters.sampling_mode, frame_rate)
    return Task(time_frame.id, document.id, path, chosen, segment.span)


def _located(document: Document, places: Places, fetch: Fetch | None) -> Path:
    try:
        return locate(document, places, fetch)
    except ForbiddenPlace as error:
        raise ForbiddenPlace(f"the video {document.id} is not read: {error}") from None


def _time_points(mmif: Mmif, time_frame: Annotation, name: str) -> list[Annotation]:
    annotations = [_resolve(mmif, time_frame, id_) for id_ in time_frame.get_property(name) or []]
    return [annotation for annotation in annotations if annotation.at_type == AnnotationTypes.TimePoint]


def _resolve(mmif: Mmif, time_frame: Annotation, id_: str) -> Annotation:
    view = time_frame.id.partition(":")[0]  # mmif-python's own way fails where an id has another colon
    for candidate in (id_, f"{view}:{id_}"):
        try:
            found = mmif[candidate]
        except KeyError:
            continue
        if isinstance(found, Annotation):
            return found
    raise ValueError(f"the annotation {id_} that it refers to is not in the input")


def _document(mmif: Mmif, time_frame: Annotation, points: list[Annotation], videos: dict[str, Document]) -> Document:
    for annotation in (time_frame, *points[:1]):
        if id_ := annotation.get_property("document"):
            if id_ in videos:
                return videos[id_]
            mmif[id_]  # a KeyError names a document that isn't there
            raise _NotAVideo
    if len(videos) == 1:
        return next(iter(videos.values()))
    raise ValueError("neither it nor its TimePoints say which of the videos it belongs to")


def _instants(points: list[Annotation], in_ms: Callable[[Any, str], int]) -> tuple[Instant, ...]:
    return tuple(Instant(in_ms(point.get_property("timePoint"), _unit(point)), point.id) for point in points)


def _interval(mmif: Mmif, annotation: Annotation, in_ms: Callable[[Any, str], int]) -> tuple[int, int] | None:
    # By its own properties: mmif-python adds a start and an end to what has targets, and these in the targets' unit.
    own = annotation.properties
    if "targets" in own:
        targets = [_resolve(mmif, annotation, id_) for id_ in own["targets"] or []]
        inner = [interval for target in targets if (interval := _interval(mmif, target, in_ms)) is not None]
        return (min(start for start, _ in inner), max(end for _, end in inner)) if inner else None
    first, last = ("timePoint", "timePoint") if "timePoint" in own else ("start", "end")
    start, end = annotation.get_property(first), annotation.get_property(last)
    if start is None or end is None:
        return None
    return in_ms(start, _unit(annotation)), in_ms(end, _unit(annotation))


def _unit(annotation: Annotation) -> str:
    return str(annotation.get_property("timeUnit") or "milliseconds")


def _chunks(task: Task, parameters: Parameters) -> Iterator[Task]:
    # The SDK's own chunking, over instants in place of images: no frame has to be decoded to know the groups.
    whole = PromptTask(list(task.instants), [""] * len(task.instants), task.time_frame)
    chunks = ClamsPromptableApp.chunk_tasks([whole], parameters.max_images, parameters.images_mode)
    for part, chunk in enumerate(chunks):
        yield replace(task, instants=tuple(chunk.images), part=part)


def _text(error: Exception) -> str:
    return str(error.args[0]).rstrip(".") if isinstance(error, KeyError) and error.args else str(error).rstrip(".")
