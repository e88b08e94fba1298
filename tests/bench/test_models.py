"""What a model that is measured is given."""

from pathlib import Path

import pytest

from bench import models
from bench.geometry import SMOLVLM2_2B


def test_the_cache_is_that_of_the_model_unless_the_operator_chose_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "geometry_of", lambda folder: SMOLVLM2_2B)
    monkeypatch.delenv("CAPTIONER_KV_CACHE_GIB", raising=False)
    assert models.kv_cache_gib(Path()) == "6"
    monkeypatch.setenv("CAPTIONER_KV_CACHE_GIB", "2")
    assert models.kv_cache_gib(Path()) == "2"


def test_default_resolution_is_the_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "tile_edge", lambda folder: 384)
    assert models.longest_edge(Path(), "default") == 0
    assert models.longest_edge(Path(), "tile") == 384
