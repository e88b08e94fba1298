"""The published table is what the processor says now."""

from scripts.context_table import PAGE, page


def test_docs_context_is_up_to_date() -> None:
    assert PAGE.read_text() == page()
