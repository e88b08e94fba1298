"""The fenced code blocks of the documentation's pages, and whether a reader's shell is to run them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "demo" / "model" / "README.md"])
# On a line of its own before a block: why no test can run it. Readers of the page don't see it.
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True)
class Block:
    """
    A code block.

    :param line: of its first line of code in the page, from 1
    :param not_run: the reason why it is not to be run; empty for one that is
    """

    page: Path
    line: int
    language: str
    code: str
    not_run: str

    @property
    def place(self) -> str:
        """Page and line as an editor understands them."""
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """
    Yield the code blocks of ``page`` in their order.

    :raises ValueError: if a marker stands before something that is not a block of shell commands
    """
    reason = ""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence":
            assert token.map is not None
            block = Block(page, token.map[0] + 2, token.info.strip(), token.content, reason)
            if reason and block.language != "sh":
                raise ValueError(f"{block.place}: marked as not run, but not a block of sh")
            yield block
            reason = ""
        elif reason and token.type not in ("paragraph_close", "html_block"):
            raise ValueError(f"{page.name}: nothing to run after <!-- not run: {reason} -->")
        if token.type == "html_block" and (marker := NOT_RUN.search(token.content)):
            reason = marker[1]
    if reason:
        raise ValueError(f"{page.name}: nothing to run after <!-- not run: {reason} -->")
