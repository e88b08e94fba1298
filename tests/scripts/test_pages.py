"""What the documentation says of the code is what the code says now."""

from pathlib import Path

import pytest

from scripts import context_table, settings_table
from scripts.pages import filled


def test_docs_context_is_up_to_date() -> None:
    assert context_table.PAGE.read_text() == context_table.page()


def test_docs_settings_is_up_to_date() -> None:
    assert settings_table.PAGE.read_text() == settings_table.page()
    assert "CAPTIONER_MODEL" in settings_table.table()


def test_a_page_without_the_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing marked\n")
    with pytest.raises(ValueError, match="unpack"):
        filled(page, "scripts.settings_table", "")
