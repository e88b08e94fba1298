"""A JSON Schema's ``pattern`` in the part of its language that every reader of it understands alike."""

import re
import re._parser as syntax  # type: ignore[import-not-found]  # the standard library's own; it has no public door
import warnings
from collections.abc import Iterable
from typing import Any

MOST_CHARACTERS = 200
# How often the parts of a pattern may occur, all counts multiplied out. The engine's table of states grows with it;
# "(.{0,30}a){30}", which comes to 930, fills it.
MOST_PARTS = 300
# The same of a pattern with a repetition without an end. Its states double with every part that may be where the
# repetition still is, as in "^.*a.{40}$", and nothing else bounds how many of them a long reply comes by.
MOST_PARTS_ENDLESS = 20

# ECMA-262's, which JSON Schema means; a digit of another script is none, though Python and Rust take it for one.
_CLASSES = {"CATEGORY_DIGIT": "0-9", "CATEGORY_WORD": "A-Za-z0-9_", "CATEGORY_SPACE": r"\t\n\x0B\x0C\r\x20\u{A0}"}
_DIFFER = (
    r"has \D, \W or \S, or \d, \w or \s within [^...], on which readers of patterns differ; write [^0-9] or the like"
)
_ANY = r"[^\n\r\u{2028}\u{2029}]"


class PatternRefused(ValueError):
    """The pattern can't be enforced; says why."""


def enforceable(pattern: str) -> str:
    """
    Return ``pattern`` as the engine's regular expressions say it, which know no context and no memory.

    :raises PatternRefused: if it needs either, or too much of the engine
    """
    return _read(pattern)[0]


def parts_of(pattern: str) -> int:
    """Count the parts of a pattern that is enforceable, its repetitions multiplied out."""
    return _read(pattern)[1]


def _read(pattern: str) -> tuple[str, int]:
    if len(pattern) > MOST_CHARACTERS:
        raise PatternRefused(f"has {len(pattern)} characters; {MOST_CHARACTERS} are the most")
    try:
        with warnings.catch_warnings(action="ignore"):  # of what other regular expressions would read otherwise
            tree = syntax.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternRefused(f"is no regular expression: {error}") from error
    if tree.state.flags & ~re.UNICODE:
        raise PatternRefused("has flags, as in (?i); write [Aa] or the like")
    parsed = list(tree)
    anchors = [str(part[1]) for part in (*parsed[:1], *parsed[-1:]) if str(part[0]) == "AT"]
    if anchors != ["AT_BEGINNING", "AT_END"]:
        raise PatternRefused(
            "must begin with ^ and end with $, around alternatives as in ^(a|b)$: without, anything goes"
        )
    writer = _Writer()
    written = writer.sequence(parsed[1:-1], 1)
    if writer.endless and writer.parts > MOST_PARTS_ENDLESS:
        raise PatternRefused(
            f"has more than {MOST_PARTS_ENDLESS} parts around *, + or {{n,}}; give these a bound, as in {{0,40}}"
        )
    return f"^(?:{written})$", writer.parts


class _Writer:
    """Writes a parsed pattern and counts its parts."""

    def __init__(self) -> None:
        self.parts = 0
        self.endless = False

    def sequence(self, parsed: Iterable[Any], times: int, within: str = "") -> str:
        return "".join(self._part(str(kind), value, times, within) for kind, value in parsed)

    def _part(self, kind: str, value: Any, times: int, within: str) -> str:
        self.parts += times
        if self.parts > MOST_PARTS:
            raise PatternRefused(f"has more than {MOST_PARTS} parts when its repetitions are multiplied out")
        if kind == "LITERAL":
            return _character(value)
        if kind == "NOT_LITERAL":
            return f"[^{_character(value)}]"
        if kind == "ANY":
            return _ANY
        if kind == "IN":
            if str(value[0][0]) == "NEGATE" and any(str(kind) == "CATEGORY" for kind, _ in value):
                raise PatternRefused(_DIFFER)
            return f"[{''.join(self._member(str(kind), value) for kind, value in value)}]"
        if kind == "BRANCH":
            return "(?:" + "|".join(self.sequence(branch, times, within) for branch in value[1]) + ")"
        if kind == "SUBPATTERN" and not value[1] and not value[2]:
            return f"(?:{self.sequence(value[3], times, within)})"
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, repeated = value
            return self._repeat(least, most, repeated, times, within)
        raise PatternRefused(f"uses what the engine has not got ({kind.lower().replace('_', ' ')})")

    def _repeat(self, least: int, most: Any, repeated: Any, times: int, within: str) -> str:
        endless = most is syntax.MAXREPEAT
        if within == "endless" or (within and endless):
            raise PatternRefused("has a repetition within *, + or {n,}, or one of these within another repetition")
        self.endless |= endless
        count = max(least, 1) if endless else max(most, 1)
        written = self.sequence(repeated, times * count, "endless" if endless else "bounded")
        return f"(?:{written}){{{least},{'' if endless else most}}}"

    def _member(self, kind: str, value: Any) -> str:
        if kind == "NEGATE":
            return "^"
        if kind == "LITERAL":
            return _character(value)
        if kind == "RANGE":
            return f"{_character(value[0])}-{_character(value[1])}"
        if str(value) in _CLASSES:
            return _CLASSES[str(value)]
        raise PatternRefused(_DIFFER)


def _character(code: int) -> str:
    return rf"\u{{{code:X}}}"
