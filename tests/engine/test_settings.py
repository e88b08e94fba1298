"""What vLLM is told, and the choices made for the machine."""

import os
from pathlib import Path

import pytest
from vllm.platforms import current_platform

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


def test_the_cache_is_chosen_by_the_cards_that_vllm_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cards = [48 * GIB, 24 * GIB, 8 * GIB]
    monkeypatch.setattr(settings_module, "_on_cpu", lambda: False)
    monkeypatch.setattr(type(current_platform), "get_device_total_memory", staticmethod(cards.__getitem__))

    def cache(**settings: int) -> float:
        made = engine_args(EngineSettings(background_beside=1, kv_cache_gib=0, **settings), DEMO)
        assert made.kv_cache_memory_bytes is not None
        return made.kv_cache_memory_bytes / GIB

    assert (cache(), cache(tensor_parallel=2), cache(data_parallel=3)) == (12, 6, 1.5)
    assert not caplog.records
    assert cache(data_parallel=4) == 1.5
    assert "does not say how much memory it has (IndexError" in caplog.text


def test_a_neighbour_on_the_card_does_not_keep_the_engine_from_starting() -> None:
    """vLLM on a GPU looks at what is free before it loads the model; here a neighbour has most of the card."""
    from vllm.config import CacheConfig
    from vllm.utils.mem_utils import MemorySnapshot
    from vllm.v1.worker.utils import request_memory

    arguments = engine_args(EngineSettings(), DEMO)
    told = CacheConfig(gpu_memory_utilization=arguments.gpu_memory_utilization)
    free = MemorySnapshot(total_memory=24 * GIB, free_memory=9 * GIB, device="cpu", auto_measure=False)
    assert request_memory(free, told) < GIB
    with pytest.raises(ValueError, match="less than desired GPU memory utilization"):
        request_memory(free, CacheConfig())


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
    ("on_cpu", "most", "asked", "beside"), [(True, 64, 0, 0), (False, 64, 0, 8), (False, 4, 0, 1), (True, 64, 3, 3)]
)
def test_how_much_of_the_background_goes_beside_others(
    monkeypatch: pytest.MonkeyPatch, on_cpu: bool, most: int, asked: int, beside: int
) -> None:
    monkeypatch.setattr(settings_module, "_on_cpu", lambda: on_cpu)
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
    monkeypatch.delenv("VLLM_USE_FLASHINFER_SAMPLER", raising=False)
    prepare_environment(EngineSettings(hf_home=tmp_path, log_level="INFO"), offline=True)
    assert [os.environ[name] for name in names] == [str(tmp_path), "1", "1", "INFO", "ext://sys.stderr"]
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert os.environ["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert (os.environ["VLLM_NO_USAGE_STATS"], os.environ["DO_NOT_TRACK"]) == ("1", "1")
