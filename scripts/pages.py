"""Pages of the documentation with a part that a command makes."""

from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
END = "<!-- end -->\n"


def filled(page: Path, module: str, part: str) -> str:
    """
    Return the text of ``page`` with ``part`` in the place that is marked as made by ``python -m module``.

    :raises ValueError: if the page has no such place
    """
    begin = f"<!-- begin: python -m {module} -->\n"
    before, rest = page.read_text().split(begin)
    return before + begin + part + END + rest.split(END, 1)[1]
