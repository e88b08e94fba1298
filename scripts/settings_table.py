"""The table of docs/settings.md, from the settings classes. ``python -m scripts.settings_table`` writes it."""

from app import SETTINGS
from scripts.pages import DOCS, filled

PAGE = DOCS / "settings.md"


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for settings in SETTINGS:
        for row in settings.rows():
            default = f"`{row.default}`" if row.default else "unset"
            lines.append(f"| `{row.variable}` | `{row.flag}` | {default} | {row.help} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return docs/settings.md with a fresh table."""
    return filled(PAGE, "scripts.settings_table", table())


if __name__ == "__main__":
    PAGE.write_text(page())
