"""What the documentation says of the code is what the code says now; `make check` compares the parts that it makes."""

import json
import re
from pathlib import Path

import pytest

from scripts import check_pages, parameters_table, settings_table
from scripts.pages import filled

README = check_pages.ROOT / "README.md"
# A row of the README's table that names parameters, and their defaults; words after a default explain it.
ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", re.MULTILINE)


def test_a_page_that_is_not_up_to_date_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_pages, "MAKERS", (settings_table, parameters_table))
    assert check_pages.main() == 0
    monkeypatch.setattr(settings_table, "table", lambda: "| another |\n")
    assert check_pages.main() == 1
    said = capsys.readouterr().err
    assert "docs/settings.md is not what it would be now: run `.venv/bin/python -m scripts.settings_table`" in said
    assert "parameters" not in said


def test_the_settings_are_those_of_all_rooms() -> None:
    named = re.findall(r"^\| `(CAPTIONER_\w+)`", settings_table.table(), re.MULTILINE)
    assert {"CAPTIONER_MODEL", "CAPTIONER_MEDIA_ROOT", "CAPTIONER_MAX_CALLS", "CAPTIONER_PARALLEL"} <= set(named)


def test_the_readmes_parameters_are_those_of_the_app() -> None:
    defaults = {parameter["name"]: parameter["default"] for parameter in parameters_table.published()["parameters"]}
    rows = ROW.findall(README.read_text())
    assert len(rows) > 10
    for names, told in rows:
        for name, default in zip(re.findall(r"\w+", names), told.split(",")):
            assert name in defaults
            value = default.split()[0].strip("`")
            if value not in ("all", "a", "none"):
                assert value == str(defaults[name]) or json.loads(value) == defaults[name], name
            elif value != "a":
                assert not defaults[name], name


def test_a_page_without_the_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing marked\n")
    with pytest.raises(ValueError, match="unpack"):
        filled(page, "scripts.settings_table", "")
