"""Sheets and their index as HTML: no page needs anything from elsewhere, no text of a file can become code in one."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from archive.sheet import Caption, Row, Scalar, Sheet
from archive.thumbnails import MOST, spread

_TEMPLATES = Path(__file__).parent / "templates"
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_TEMPLATES),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)

NO_CAPTION = "no caption"
# Confidences below which captions can be looked for.
DOUBTS = (0.5, 0.8, 0.95)
_CHOICES_NAMED = 4


@dataclass(frozen=True)
class Mark:
    """
    What a caption says of itself, in words.

    :param flag: whether it is something to look for
    """

    text: str
    flag: bool


def marks_of(caption: Caption) -> list[Mark]:
    """Put what a caption says of itself into words."""
    marks = [_mark(name, value) for name, value in caption.marks.items()]
    return [*marks, Mark(_choices(caption.choices), False)] if caption.choices else marks


def flags_of(row: Row) -> list[str]:
    """Collect what a row can be found by when something is amiss with it; each is said once."""
    marks = [mark.text for caption in row.captions for mark in marks_of(caption) if mark.flag]
    return list(dict.fromkeys([*marks, *([] if row.captions else [NO_CAPTION]), *(r.kind for r in row.remarks)]))


def when(row: Row) -> str:
    """Write the time of a row: from its start to its end."""
    start, end = row.span or (min(row.times, default=None), max(row.times, default=None))
    if start is None or end is None:
        return "time unknown"
    return clock(start) if start == end else f"{clock(start)} to {clock(end)}"


def clock(ms: int) -> str:
    """Write a time as hours, minutes and seconds: ``0:01:02.5``."""
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    seconds, rest = divmod(ms, 1000)
    tenths = f".{rest // 100}" if rest else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}{tenths}"


def render_sheet(sheet: Sheet, title: str, lost: Mapping[str, str] | None = None, home: str = "") -> str:
    """
    Return the contact sheet of a file as a page.

    :param lost: why there are no pictures of a video, by the video's id
    :param home: address of the index; empty if there is none
    """
    labels = Counter(row.label for row in sheet.rows)
    passes = Counter(caption.pass_name for row in sheet.rows for caption in row.captions)
    flags = Counter(flag for row in sheet.rows for flag in flags_of(row))
    return _page(
        "sheet",
        title=title,
        home=home,
        sheet=sheet,
        lost=lost or {},
        captions=sum(passes.values()),
        models=", ".join(sorted({made.model for made in sheet.passes if made.model})),
        rows=_shown(sheet),
        told=any(caption.confidence is not None for row in sheet.rows for caption in row.captions),
        filters=[
            ("label", "All labels", labels.items(), "no label"),
            ("pass", "All passes", passes.items(), ""),
            ("warning", "With or without warnings", flags.most_common(), ""),
        ],
    )


def render_index(title: str, contents: Mapping[str, Any], problems: Sequence[tuple[str, str]], made: str) -> str:
    """
    Return the index as a page.

    :param contents: ``chunks``: addresses of the data; ``files`` and ``captions``: how many there are
    :param problems: path and reason for each file that has no sheet
    :param made: when it was made
    """
    return _page("index", title=title, contents=contents, problems=problems, made=made)


def form() -> str:
    """Tell one form of sheets from another: a digest of all that a sheet's look depends on."""
    parts = [_source("style.css", "sheet.css"), _source("search.js", "sheet.js"), _source("sheet.html", "doubt.html")]
    parts += [
        (Path(__file__).parent / name).read_text()
        for name in ("index.py", "pages.py", "reading.py", "sheet.py", "thumbnails.py")
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _page(name: str, **shown: Any) -> str:
    style, script = _source("style.css", f"{name}.css"), _source("search.js", f"{name}.js")
    # Should a text ever get out of its place, it still can't do anything. Only the page's own script runs, and what it
    # loads: the data beside the index.
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)} 'strict-dynamic'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    shown |= {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}
    return _templates.get_template(f"{name}.html").render(shown, clock=clock, marks_of=marks_of, doubts=DOUBTS)


def _source(*names: str) -> str:
    return "\n".join((_TEMPLATES / name).read_text() for name in names)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _shown(sheet: Sheet) -> Iterable[dict[str, Any]]:
    locations = {video.id: video.location or video.id for video in sheet.videos}
    before = None
    for row in sheet.rows:
        heading = locations.get(row.document, row.document) if len(locations) > 1 and row.document != before else ""
        before = row.document
        unseen = len(row.times) - len(row.thumbnails)
        yield {
            "row": row,
            "heading": heading,
            "found_by": {"label": row.label, "flags": flags_of(row)},
            "when": when(row),
            "unseen": unseen if row.thumbnails else 0,
            "frames": "" if row.thumbnails else ", ".join(clock(ms) for ms in spread(row.times, MOST)),
        }


def _choices(choices: Mapping[str, float]) -> str:
    """Name the likeliest of choices."""
    likeliest = sorted(choices.items(), key=lambda choice: -choice[1])
    named = ", ".join(f"{text} {share:.3g}" for text, share in likeliest[:_CHOICES_NAMED])
    return f"{named}, {rest} more" if (rest := len(likeliest) - _CHOICES_NAMED) > 0 else named


def _mark(name: str, value: Scalar) -> Mark:
    match name, value:
        case "finishReason", "length":
            return Mark("cut at the token limit", True)
        case "finishReason", _:
            return Mark(f"ended by {value}", True)
        case "longestEdge", _:
            return Mark(f"frames shown at {value} px", True)
        case "maxNewTokens", _:
            return Mark(f"at most {value} tokens", True)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return Mark(f"{words} {value:.3g}" if isinstance(value, float) else f"{words}: {value}", False)
