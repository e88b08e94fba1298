"""What vLLM is told, and the choices made for the machine."""

import os
from pathlib import Path

import pytest

from engine import settings as settings_module
from engine.settings import GIB, EngineSettings, engine_args, kv_cache_for, prepare_environment
from models import DEMO


@pytest.mark.parametrize(("card", "cache"), [(8, 1.5), (15.7, 2), (23.6, 6), (39.4, 12), (79.2, 24)])
def test_kv_cache_by_card(card: float, cache: float) -> None:
    assert kv_cache_for(card) == cache


def test_defaults_on_cpu() -> None:
    arguments = engine_args(EngineSettings(kv_cache_gib=0, dtype="auto"), DEMO)
    assert arguments.model == str(DEMO)
    assert arguments.kv_cache_memory_bytes == 2 * GIB
    assert arguments.max_num_batched_tokens == 2048
    assert arguments.enforce_eager is True
    assert arguments.mm_processor_cache_gb == 0
    assert arguments.scheduling_policy == "priority"


def test_what_is_set_is_passed_on() -> None:
    settings = EngineSettings(
        dtype="bfloat16", max_model_len=1024, max_batched_tokens=4096, max_seqs=3, kv_cache_gib=0.5,
        tensor_parallel=2, data_parallel=3, eager="false",
    )  # fmt: skip
    arguments = engine_args(settings, DEMO)
    assert (arguments.dtype, arguments.max_model_len) == ("bfloat16", 1024)
    assert (arguments.max_num_batched_tokens, arguments.max_num_seqs) == (4096, 3)
    assert arguments.kv_cache_memory_bytes == GIB // 2
    assert (arguments.tensor_parallel_size, arguments.data_parallel_size) == (2, 3)
    assert arguments.enforce_eager is False


@pytest.mark.parametrize(
    ("cards", "most", "asked", "beside"), [(0, 64, 0, 0), (1, 64, 0, 8), (1, 4, 0, 1), (0, 64, 3, 3)]
)
def test_how_much_of_the_background_goes_beside_others(
    monkeypatch: pytest.MonkeyPatch, cards: int, most: int, asked: int, beside: int
) -> None:
    monkeypatch.setattr(settings_module, "gpus", lambda: ["a card"] * cards)
    settings = EngineSettings(max_seqs=most, background_beside=asked, kv_cache_gib=0.5)
    assert settings.beside == beside


def test_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ["HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_LOGGING_LEVEL", "VLLM_LOGGING_STREAM"]
    for name in [
        *names,
        "VLLM_WORKER_MULTIPROC_METHOD",
        "VLLM_NO_USAGE_STATS",
        "DO_NOT_TRACK",
        "TRANSFORMERS_VERBOSITY",
    ]:
        monkeypatch.setenv(name, "before")
    prepare_environment(EngineSettings(hf_home=tmp_path, log_level="INFO"), offline=True)
    assert [os.environ[name] for name in names] == [str(tmp_path), "1", "1", "INFO", "ext://sys.stderr"]
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert (os.environ["VLLM_NO_USAGE_STATS"], os.environ["DO_NOT_TRACK"]) == ("1", "1")
