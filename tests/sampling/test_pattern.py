"""Which patterns are enforced, and how the engine is told of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling.pattern import PatternRefused, enforceable


def in_python(written: str) -> str:
    r"""The engine's expression in this language: \u{E9} is \U000000E9."""
    return re.sub(r"\\u\{(\w+)\}", lambda found: f"\\U{int(found[1], 16):08x}", written)


@pytest.mark.parametrize(
    ("pattern", "matches", "does_not"),
    [
        (r"^\d{4}-\d{2}$", ["2026-11"], ["2026-1", "\u0661\u0662\u0663\u0664-11", "2026-11x"]),
        (r"^\w+$", ["a_9"], ["", "\u00e9", "a b"]),
        (r"^a\sb$", ["a b", "a\tb"], ["ab"]),
        ("^(a|bc)?$", ["", "a", "bc"], ["b", "abc"]),
        ("^(?P<x>a)+$", ["aaa"], [""]),
        ("^[^a-c]$", ["d", "\n"], ["a"]),
        ("^[^a]$", ["b"], ["a"]),
        ("^a.$", ["ab"], ["a\n"]),
        (r"^\.\[\^$", [".[^"], ["x[^"]),
        ("^a+?$", ["aa"], [""]),
        ("^$", [""], ["a"]),
        ("^\u00e9{2}$", ["\u00e9\u00e9"], ["\u00e9"]),
        ("^([A-Z][a-z]{1,9} ?){1,3}$", ["Ada Lovelace"], ["ada"]),
    ],
)
def test_it_means_what_it_says(pattern: str, matches: list[str], does_not: list[str]) -> None:
    written = re.compile(in_python(enforceable(pattern)))
    for text in matches:
        assert written.fullmatch(text)
    for text in does_not:
        assert not written.fullmatch(text)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a", "begin with ^"),
        ("^a", "end with $"),
        ("^a|b$", "around alternatives"),
        ("^", "begin with"),
        ("$^", "begin with"),
        ("", "begin with"),
        ("((", "no regular expression"),
        (r"^\p{L}$", "no regular expression"),
        ("^a{99999999999}$", "too large"),
        ("^(?=a)a$", "assert"),
        (r"^(a)\1$", "groupref"),
        (r"^a\b$", "not got"),
        ("^a$b$", "not got"),
        ("^(?>a)$", "atomic"),
        ("^(?i:a)$", "not got"),
        ("(?i)^a$", "flags"),
        (r"^\D$", r"\D, \W or \S"),
        (r"^[\W]$", r"\D, \W or \S"),
        (r"^[^\w]$", r"or \d, \w or \s within [^...]"),
        (r"^[^a\d]+$", r"or \d, \w or \s within [^...]"),
        (r"^[^\s]{1,3}$", r"or \d, \w or \s within [^...]"),
        ("^(a+)+$", "within"),
        ("^(a?)*$", "within"),
        ("^(a*){3}$", "within"),
        ("^(a{20}){20}$", "multiplied out"),
        ("^" + "a" * 400 + "$", "200 are the most"),
    ],
)
def test_what_can_not_be_enforced_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(PatternRefused) as refused:
        enforceable(pattern)
    assert reason in str(refused.value)


@pytest.mark.filterwarnings(
    "ignore:Possible (nested set|set difference|set intersection|set union|set symmetric):FutureWarning"
)
@given(st.data(), st.from_regex(r"\^[a-c(|).*+?{}0-9\\dws\[\]^-]{0,14}\$", fullmatch=True))
def test_whatever_it_lets_through_it_understands_as_python_does(data: st.DataObject, pattern: str) -> None:
    try:
        written = enforceable(pattern)
    except PatternRefused:
        return
    text = data.draw(st.from_regex(in_python(written), fullmatch=True))
    assert re.search(pattern, text)
