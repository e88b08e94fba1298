"""
MMIF to sheet.

Reads the JSON by itself. mmif-python makes an object of every annotation and takes 0.3 s for a file of 1,300; a tape of
an hour, classified once a second, has 3,600, and an archive has thousands of tapes. Here such a file takes a few
milliseconds. Tests hold what is read against mmif-python.
"""

import errno
import itertools
import json
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mmif.utils.timeunit_helper import convert

from archive.answer import unwrapped
from archive.folders import mmif_files, printable
from archive.sheet import Caption, Pass, Remark, Row, Scalar, Sheet, Video, probability
from sampling.timepoints import Instant, Segment

APP = "http://apps.clams.ai/smolvlm2-captioner/"  # how the app's identifier begins, its version left open


class UnreadableError(ValueError):
    """A file that is no MMIF, or one that can't be understood. Says what is wrong with it, not which it is."""


class Output(NamedTuple):
    """
    A MMIF file to read.

    :param path: relative to the folder it was found in, with ``/``
    :param source: where it is
    """

    path: str
    source: Path


def find_outputs(outputs: Path, target: Path | None = None) -> list[Output]:
    """
    Find the ``.mmif`` files in a folder and below, in the order of their paths; those hidden are left out.

    :param outputs: the folder, or a single file
    :param target: a folder to leave out as well
    :raises FileNotFoundError: if there is no such folder or file
    :raises OSError: if a folder can't be read: its files would be taken to be gone
    """
    if outputs.is_file():
        return [Output(outputs.name, outputs)]
    if not outputs.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(outputs))
    found = mmif_files(outputs, target, _refuse)
    return sorted(Output(file.relative_to(outputs).as_posix(), file) for file in found)


def _refuse(error: OSError) -> None:
    raise OSError(f"The folder {printable(error.filename)} can't be read: {error.strerror}.") from error


def read_sheet(path: Path, app: str = APP) -> Sheet:
    """
    Collect the captions of all views of an app, without pictures.

    :param app: how the app's identifier begins
    :raises UnreadableError: if the file is no MMIF
    :raises OSError: if it can't be read
    """
    try:
        whole = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"This is not JSON: {error}.") from error
    if not isinstance(whole, dict) or not all(isinstance(whole.get(part), list) for part in ("documents", "views")):
        raise UnreadableError("This is not MMIF: it has no lists of documents and views.")
    try:
        return _Reading(whole, app).sheet()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableError(f"This is not MMIF as the app writes it ({type(error).__name__}: {error}).") from error


def pass_name(metadata: Mapping[str, Any]) -> str:
    """
    Name the pass that a view is of: as its backfill did, or else by the labels it was for and how its prompt begins.

    :param metadata: of the view
    """
    if name := metadata.get("pass"):
        return _text(name)
    configuration = metadata.get("appConfiguration") or {}
    labels = ", ".join(_texts(configuration.get("tfLabels")))
    prompt = textwrap.shorten(" ".join(_texts(configuration.get("prompt"))), 40, placeholder=" …")
    return ": ".join(part for part in (labels, prompt) if part) or "unnamed"


class _Annotation(NamedTuple):
    id: str  # with the view's
    kind: str
    view: str
    own: Mapping[str, Any]
    shared: Mapping[str, Any]  # what the view says of all annotations of the kind

    def get(self, name: str) -> Any:
        return self.own.get(name, self.shared.get(name))


class _View(NamedTuple):
    metadata: Mapping[str, Any]
    made_by: Pass
    annotations: list[_Annotation]


_NO_MARKS = {"id", "text", "document", "origins", "origination", "mime", "location"}


class _Reading:
    def __init__(self, mmif: Mapping[str, Any], app: str) -> None:
        self.videos = {video.id: video for video in _videos(mmif)}
        self.rates: dict[str, float | None] = {}
        self.annotations: dict[str, _Annotation] = {}
        self.views: list[_View] = []
        for view in mmif["views"]:
            found = list(_annotations(view))
            self.annotations.update((annotation.id, annotation) for annotation in found)
            if str(view["metadata"].get("app")).startswith(app):
                self.views.append(_View(view["metadata"], self._pass(view["metadata"]), found))

    def sheet(self) -> Sheet:
        remarks = list(
            dict.fromkeys(
                Remark(view.made_by.name, unwrapped(text))
                for view in self.views
                for text in _texts(view.metadata.get("warnings"))
            )
        )
        return Sheet(
            passes=tuple(dict.fromkeys(view.made_by for view in self.views)),
            videos=tuple(self.videos.values()),
            rows=self._rows(remarks),
            remarks=tuple(remarks),
            errors=tuple(_error(view.metadata["error"]) for view in self.views if view.metadata.get("error")),
        )

    def _pass(self, metadata: Mapping[str, Any]) -> Pass:
        configuration = metadata.get("appConfiguration") or {}
        prompt, labels = (tuple(_texts(configuration.get(name))) for name in ("prompt", "tfLabels"))
        made = Pass(pass_name(metadata), _text(configuration.get("model")), labels, prompt)
        # Prompts that begin alike are still two.
        others = {view.made_by.name for view in self.views if replace(view.made_by, name=made.name) != made}
        names = (made.name if number == 1 else f"{made.name} ({number})" for number in itertools.count(1))
        return replace(made, name=next(name for name in names if name not in others))

    def _rows(self, remarks: list[Remark]) -> tuple[Row, ...]:
        captions: dict[tuple[str, tuple[int, ...]], list[tuple[_Annotation, Caption]]] = {}
        for view in self.views:
            sides = _sides(view.annotations)
            for text in view.annotations:
                if text.kind == "TextDocument":
                    time_frame = next((id_ for id_ in sides.get(text.id, ()) if self._is_time_frame(id_)), "")
                    caption = text, _caption(text, view.made_by.name)
                    captions.setdefault((time_frame, self._times(text)), []).append(caption)
        said = self._by_time_frame(remarks)
        captioned = {time_frame for time_frame, _ in captions}
        captions |= {(time_frame, ()): [] for time_frame in said if time_frame not in captioned}
        parts: Counter[str] = Counter()
        rows = []
        for (time_frame, times), found in captions.items():
            parts[time_frame] += 1
            row = self._row(time_frame, times, found, parts[time_frame])
            rows.append(replace(row, remarks=tuple(said.get(time_frame, ()))) if parts[time_frame] == 1 else row)
        return tuple(sorted(rows, key=self._place))

    def _row(self, id_: str, times: tuple[int, ...], found: list[tuple[_Annotation, Caption]], part: int) -> Row:
        time_frame = self.annotations.get(id_)
        document = next((str(text.get("document")) for text, _ in found if text.get("document")), "")
        return Row(
            anchor=f"tf-{id_}" if part == 1 else f"tf-{id_}-{part}",
            time_frame=id_,
            label=_text(time_frame.get("label")) if time_frame else "",
            document=document or (self._document(time_frame) if time_frame else ""),
            span=self._span(time_frame) if time_frame else None,
            times=times,
            captions=tuple(caption for _, caption in found),
        )

    def _place(self, row: Row) -> tuple[int, bool, int]:
        order = list(self.videos)
        video = order.index(row.document) if row.document in order else len(order)
        return video, row.start is None, row.start or 0

    def _is_time_frame(self, id_: str) -> bool:
        return id_ in self.annotations and self.annotations[id_].kind == "TimeFrame"

    def _by_time_frame(self, remarks: list[Remark]) -> dict[str, list[Remark]]:
        found: dict[str, list[Remark]] = {}
        for remark in remarks:
            for word in dict.fromkeys(re.findall(r"[^\s,;()]+", remark.text)):
                if self._is_time_frame(id_ := word.rstrip(".:")):
                    found.setdefault(id_, []).append(remark)
        return found

    def _resolve(self, annotation: _Annotation, name: str) -> Iterator[_Annotation]:
        for id_ in annotation.get(name) or ():
            if found := self.annotations.get(id_) or self.annotations.get(f"{annotation.view}:{id_}"):
                yield found

    def _document(self, time_frame: _Annotation) -> str:
        points = (point for name in ("targets", "representatives") for point in self._resolve(time_frame, name))
        said = (str(annotation.get("document") or "") for annotation in itertools.chain([time_frame], points))
        return next(filter(None, said), next(iter(self.videos)) if len(self.videos) == 1 else "")

    def _times(self, annotation: _Annotation, name: str = "origins") -> tuple[int, ...]:
        points = [point for point in self._resolve(annotation, name) if point.kind == "TimePoint"]
        document = str(annotation.get("document") or "")
        times = [self._ms(point, point.get("timePoint"), str(point.get("document") or document)) for point in points]
        return tuple(ms for ms in times if ms is not None)

    def _span(self, time_frame: _Annotation) -> tuple[int, int] | None:
        document = self._document(time_frame)
        start, end = (self._ms(time_frame, time_frame.get(name), document) for name in ("start", "end"))
        representatives, targets = (self._times(time_frame, name) for name in ("representatives", "targets"))
        interval = None if start is None or end is None else (start, end)
        if not (interval or representatives or targets):
            return None
        return Segment(tuple(map(Instant, representatives)), tuple(map(Instant, targets)), interval).span

    def _ms(self, annotation: _Annotation, value: Any, document: str) -> int | None:
        unit = str(annotation.get("timeUnit") or "milliseconds")
        if value is None:
            return None
        rate = self._rate(document) if unit.startswith("f") else 0.0
        return None if rate is None else round(float(convert(value, unit, "ms", rate)))

    def _rate(self, id_: str) -> float | None:
        if id_ not in self.rates:
            video = self.videos.get(id_)
            self.rates[id_] = video.rate() if video else None
        return self.rates[id_]


def _videos(mmif: Mapping[str, Any]) -> Iterator[Video]:
    for document in mmif["documents"]:
        if _kind(document) == "VideoDocument":
            properties = document["properties"]
            yield Video(str(properties["id"]), _text(properties.get("location")), document)


def _annotations(view: Mapping[str, Any]) -> Iterator[_Annotation]:
    name = str(view["id"])
    contains = view["metadata"].get("contains") or {}
    for annotation in view.get("annotations") or ():
        own = annotation["properties"]
        id_ = str(own["id"])
        shared = contains.get(annotation["@type"]) or {}
        yield _Annotation(id_ if ":" in id_ else f"{name}:{id_}", _kind(annotation), name, own, shared)


def _kind(annotation: Mapping[str, Any]) -> str:
    # Of http://mmif.clams.ai/vocabulary/TimeFrame/v5 or http://clams.ai/vocabulary/type/TimeFrame/v6 the name alone.
    found = re.search(r"/(\w+)/v\d+$", annotation["@type"])
    return found.group(1) if found else ""


def _sides(annotations: list[_Annotation]) -> dict[str, list[str]]:
    """What each annotation is aligned with, whichever of the two is called the source."""
    sides: dict[str, list[str]] = {}
    for annotation in annotations:
        if annotation.kind == "Alignment":
            ends = [str(annotation.get(name)) for name in ("source", "target")]
            source, target = (end if ":" in end else f"{annotation.view}:{end}" for end in ends)
            sides.setdefault(source, []).append(target)
            sides.setdefault(target, []).append(source)
    return sides


def _caption(text: _Annotation, name: str) -> Caption:
    # mmif-python puts what all annotations of a view have in common into the view's metadata.
    said = {**text.shared, **text.own}
    marks = {
        key: _text(value) if isinstance(value, str) else value
        for key, value in said.items()
        if key not in _NO_MARKS and isinstance(value, Scalar)
    }
    return Caption(
        text.id,
        name,
        _text((text.get("text") or {}).get("@value")),
        marks,
        mime=_text(said.get("mime")),
        choices=_choices(said.get("choiceProbabilities")),
    )


def _choices(said: Any) -> dict[str, float]:
    shares = {_text(choice): probability(share) for choice, share in said.items()} if isinstance(said, dict) else {}
    return {choice: share for choice, share in shares.items() if share is not None}


def _error(error: Any) -> str:
    return _text((error.get("message") or error) if isinstance(error, dict) else error)


def _texts(value: Any) -> list[str]:
    return [_text(part) for part in ([value] if isinstance(value, str) else value or ())]


def _text(value: Any) -> str:
    """Make text of it that can be written down; JSON can spell halves of characters that UTF-8 can't."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()
