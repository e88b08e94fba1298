"""Settings: a wrong value names its variable and its flag, and what it accepts."""

import argparse
import os

import pytest

from app import SETTINGS
from configuration import SettingsError, refuse_unknown_variables
from engine.settings import EngineSettings


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("CAPTIONER_DTYPE", "int3", ["CAPTIONER_DTYPE", "--dtype", "bfloat16", "'int3'"]),
        ("CAPTIONER_MAX_SEQS", "0", ["CAPTIONER_MAX_SEQS", "--max-seqs", "greater than or equal to 1", "'0'"]),
        ("CAPTIONER_KV_CACHE_GIB", "much", ["CAPTIONER_KV_CACHE_GIB", "--kv-cache-gib", "number", "'much'"]),
        ("CAPTIONER_TENSOR_PARALLEL", "1.5", ["CAPTIONER_TENSOR_PARALLEL", "--tensor-parallel", "integer", "'1.5'"]),
    ],
)
def test_wrong_values(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, parts: list[str]) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        EngineSettings.read()
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_DTYPE", "int3")
    monkeypatch.setenv("CAPTIONER_MAX_SEQS", "none")
    with pytest.raises(SettingsError, match=r"(?s)CAPTIONER_DTYPE.*CAPTIONER_MAX_SEQS"):
        EngineSettings.read()


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_MAX_SEQS", "5")
    monkeypatch.setenv("CAPTIONER_MODEL", "elsewhere")
    parser = argparse.ArgumentParser()
    EngineSettings.add_flags(parser)
    EngineSettings.export_flags(parser.parse_args(["--max-seqs", "7", "--model-path", "demo"]))
    settings = EngineSettings.read()
    assert (settings.max_seqs, settings.model) == (7, "demo")


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_MAX_SEQS", "")
    assert EngineSettings.read().max_seqs == EngineSettings.model_fields["max_seqs"].default


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_KV_CACHE_GB", "4")
    with pytest.raises(SettingsError, match="CAPTIONER_KV_CACHE_GB .* did you mean CAPTIONER_KV_CACHE_GIB"):
        refuse_unknown_variables(SETTINGS)


def test_the_known_variables_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in SETTINGS:
        for row in settings.rows():
            monkeypatch.setenv(row.variable, "x")
    refuse_unknown_variables(SETTINGS)
    assert "CAPTIONER_MODEL" in os.environ


def test_every_setting_is_described() -> None:
    rows = [row for settings in SETTINGS for row in settings.rows()]
    assert len({row.variable for row in rows}) == len(rows)
    assert all(row.help for row in rows)
