"""Calls as a client makes them, of which is known what they have to come to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from demo.broadcast import Segment


@dataclass(frozen=True)
class Call:
    """
    A call that the demonstration model answers in one way.

    :param mmif: the input
    :param captions: what it has to come to, in order
    :param video: that it is about
    """

    mmif: str
    captions: tuple[str, ...]
    video: Path

    def make(self, url: str, *, session: Any = requests, timeout: float = 600, **sent: Any) -> requests.Response:
        """
        Make the call.

        :param url: of the server
        :param sent: ``params`` and ``headers``
        :raises AssertionError: if the captions are others, or there is none
        """
        answer: requests.Response = session.post(url + "/", data=self.mmif.encode(), timeout=timeout, **sent)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[-2000:]}"
        found = captions(answer.text)
        assert found == self.captions, f"{found} instead of {self.captions}"
        return answer


def slate(folder: Path) -> Call:
    """Make a call of one prompt, its video rendered into ``folder``: a slate of four seconds, three frames of it."""
    from demo.broadcast import Segment

    return of_segments(folder / "slate.mp4", [Segment("slate", "blue", 0, 4)])


def broadcast(folder: Path, seconds: int, seed: int = 1) -> Call:
    """Make a call of many prompts, about a video of so many seconds; a prompt for every 7 of them or so."""
    from demo.broadcast import make_segments

    return of_segments(folder / f"broadcast-{seconds}-{seed}.mp4", make_segments(seconds, seed))


def of_segments(path: Path, segments: "Sequence[Segment]") -> Call:
    """Render a video to ``path``, and make the call that has each of its segments captioned."""
    from demo.annotations import swt_mmif
    from demo.broadcast import render

    made = render(path, tuple(segments))
    mmif = swt_mmif(made)
    points = {point["properties"]["id"]: point["properties"] for point in _annotations(mmif, "TimePoint")}
    frames = [frame["properties"]["representatives"] for frame in _annotations(mmif, "TimeFrame")]
    times = [[points[name]["timePoint"] for name in names] for names in frames]
    return Call(mmif, tuple(made.expected_caption(instants) for instants in times), path)


def captions(mmif: str) -> tuple[str, ...]:
    """Read the captions out of an answer, in their order."""
    return tuple(text["properties"]["text"]["@value"] for text in _annotations(mmif, "TextDocument"))


def _annotations(mmif: str, kind: str) -> list[Any]:
    views = json.loads(mmif)["views"]
    return [one for view in views for one in view["annotations"] if one["@type"].split("/")[-2] == kind]
