"""Links between the pages of the documentation lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.code_blocks import PAGES, ROOT

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#?[^)\s]*\)")


# What makes benchmarks.md makes the results that it links to as well.
CHECKED = [*(page for page in PAGES if page.name != "benchmarks.md"), ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / target).resolve() for target in LINK.findall((ROOT / "README.md").read_text())}
    assert [page for page in PAGES if page.name != "README.md" and page not in linked] == []
