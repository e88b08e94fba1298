"""docs/troubleshooting.md quotes what is said: each of its quotations stands in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
SHORTEST = 6  # characters of a piece that is worth looking for


def quotations() -> list[str]:
    """What the first column of the page's tables quotes, but for single words, which are states and names."""
    seen = re.findall(r"^\| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    return [quoted for cell in seen for quoted in re.findall(r"`([^`]+)`", cell) if " " in quoted]


def texts() -> Iterator[str]:
    """All texts of the code, with … for what differs."""
    for room in ("engine", "sampling", "captioning", "serving", "archive", "scripts", "."):
        for path in (ROOT / room).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
    yield (ROOT / "container" / "entrypoint.sh").read_text()


@pytest.fixture(scope="module")
def said() -> list[str]:
    return list(texts())


@pytest.mark.parametrize("quoted", quotations())
def test_it_is_said(quoted: str, said: list[str]) -> None:
    pieces = [piece.strip() for piece in quoted.split("…") if len(piece.strip()) >= SHORTEST]
    assert pieces, "nothing in it to look for"
    for piece in pieces:
        assert any(piece in text for text in said), f"nobody says {piece!r}"
