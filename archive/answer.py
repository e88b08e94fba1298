"""What a captioned MMIF says, as JSON: its new views, what they come to, and whether it is an answer at all."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from archive.records import Counts

Json = dict[str, Any]

_RECORDED = re.compile(r"\{message : (\w+)\((.*)\), category : ", re.DOTALL)


class NotAnAnswer(ValueError):
    """A text is not the MMIF that was sent, with views added to it."""


class OtherModel(ValueError):
    """An answer has captions of another model than those that are asked for. Its text is the model."""


class ErrorView(ValueError):
    """
    An answer says that the call failed. Its text begins with the kind of the error.

    :param made: the answer
    :param view: the view that says so
    """

    def __init__(self, message: str, made: Json, view: Json) -> None:
        super().__init__(message)
        self._made = made
        self._view = view

    def as_warning(self) -> Json:
        """Return the answer with the error as a warning: other passes may have captioned the file."""
        metadata = self._view["metadata"]
        del metadata["error"]
        metadata["warnings"] = [str(self)]
        return self._made


def read_answer(given: Json, text: str, app: str, model: str) -> Json:
    """
    Read what came back for ``given``.

    :param app: the app's identifier without its version
    :param model: whose captions are asked for, as ``id@revision``
    :raises NotAnAnswer: if it is anything but ``given`` with new views of the app
    :raises OtherModel: if one of these names another model
    :raises ErrorView: if one of these has an error
    """
    try:
        made = json.loads(text)
    except ValueError as error:
        raise NotAnAnswer(f"it is not JSON ({error})") from error
    if not isinstance(made, dict) or not isinstance(made.get("views"), list):
        raise NotAnAnswer("it is JSON, but not MMIF")
    if _ids(given, "documents") != _ids(made, "documents"):
        raise NotAnAnswer("its documents are not those that were sent")
    before = _ids(given, "views")
    if _ids(made, "views")[: len(before)] != before or len(made["views"]) == len(before):
        raise NotAnAnswer("it is not what was sent with views added")
    for view in new_views(given, made):
        if not str(view["metadata"].get("app", "")).startswith(app):
            raise NotAnAnswer(f"it has a new view of {view['metadata'].get('app', 'no app')}")
        if (recorded := _model(view)) not in ("", model):
            raise OtherModel(recorded)
        if failed := view["metadata"].get("error"):
            message = str(failed.get("message", failed) if isinstance(failed, dict) else failed)
            raise ErrorView(message, made, view)
    return made


def _model(view: Json) -> str:
    """Return what a view says of the model; nothing if it says less than its revision, as earlier versions did."""
    configuration = view["metadata"].get("appConfiguration")
    recorded = configuration.get("model") if isinstance(configuration, dict) else None
    return recorded if isinstance(recorded, str) and "@" in recorded else ""


def new_views(given: Json, made: Json) -> list[Json]:
    """Return the views of ``made`` that ``given`` has not."""
    return list(made["views"][len(given["views"]) :])


def warnings_of(views: Iterable[Json]) -> Iterator[tuple[str, str]]:
    """Yield the warnings of views that are marked with a pass: its name, and the text without the SDK's wrapping."""
    for view in views:
        for recorded in view["metadata"].get("warnings", ()):
            yield str(view["metadata"].get("pass", "")), unwrapped(str(recorded))


def count(views: Iterable[Json], made: Json) -> Counts:
    """
    Count what stands in views: the TimeFrames, captions and pictures. A TimeFrame or a prompt without a caption leaves
    nothing to count.
    """
    times = _times(made)
    time_frames: set[str] = set()
    pictures: set[tuple[Any, Any]] = set()
    captions = 0
    for view in views:
        for alignment in _annotations(view, "Alignment"):
            time_frames.add(alignment["source"])
        for text in _annotations(view, "TextDocument"):
            captions += 1
            pictures |= {(text.get("document"), times.get(id_, id_)) for id_ in text.get("origins", ())}
    return Counts(time_frames=len(time_frames), prompts=captions, captions=captions, frames=len(pictures))


def _times(made: Json) -> dict[str, Any]:
    """Map TimePoints, as annotations name them, to their times: passes may make TimePoints for the same picture."""
    return {point["id"]: point.get("timePoint") for view in made["views"] for point in _annotations(view, "TimePoint")}


def _annotations(view: Json, kind: str) -> Iterator[Json]:
    """Yield the properties of a view's annotations of one type, with those that stand in its metadata for all."""
    for annotation in view["annotations"]:
        type_ = annotation["@type"]
        if f"/{kind}/" in type_:
            yield view["metadata"].get("contains", {}).get(type_, {}) | annotation["properties"]


def _ids(mmif: Json, name: str) -> list[Any]:
    found = []
    for item in mmif.get(name, ()):
        if not isinstance(item, dict):
            raise NotAnAnswer(f"one of its {name} is not an object")
        own = item if name == "views" else item.get("properties", {})
        found.append(own.get("id") if isinstance(own, dict) else None)
    return found


def unwrapped(recorded: str) -> str:
    """Return what a warning says that the SDK has recorded with its class, and with file and line of the code."""
    if match := _RECORDED.match(recorded):
        try:
            return str(ast.literal_eval(match[2]))
        except (ValueError, SyntaxError):
            return match[2]
    return recorded
