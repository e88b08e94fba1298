"""The engine's settings, why each default is what it is, and what vLLM is told."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from configuration import Settings
from engine.checkpoint import MODEL_ID
from engine.hardware import gpus

if TYPE_CHECKING:
    from vllm.engine.arg_utils import AsyncEngineArgs

logger = logging.getLogger(__name__)

MIB = 1024**2
GIB = 1024**3

# KV cache by the card's memory, both in GiB. The 2.2B model needs about 5 GiB for weights and encoder, and its KV cache
# 192 KiB a token in bfloat16 (2 x 24 layers x 32 heads x 64 x 2 bytes): 1.5 GiB for one full context of 8192. Each row
# leaves at least half of the card to its other users.
_KV_CACHE_BY_CARD = ((14, 2.0), (20, 6.0), (36, 12.0), (70, 24.0))
_KV_CACHE_LEAST = 1.5

# Of a GPU, how much has to be free before vLLM begins. Its default, 92 %, would keep the engine from starting beside a
# neighbour; with the size of the cache given, vLLM uses the share for nothing else.
_SHARE_OF_CARD = 0.01

# On CPU the cache comes out of the host's memory, and two or three prompts keep a few cores busy.
_KV_CACHE_ON_CPU = 2.0

# Tokens computed in one step, prefill and decode together; the vision encoder's share of a step is as large. A frame
# at default resolution is 1083 tokens, so 8192 lets seven frames through a step and keeps a big card busy, while on
# CPU a long step only delays everyone else's next token.
_BATCHED_TOKENS_ON_GPU = 8192
_BATCHED_TOKENS_ON_CPU = 2048

# What the engine's process is told, by these names: how many background prompts are computed beside others, and which
# prompts they are.
BESIDE, BACKGROUND = "background_beside", "background"


class EngineSettings(Settings):
    """What an operator may set of the engine. 0 or unset: chosen for the machine at start."""

    model: str = Field(
        MODEL_ID,
        description=f"Model to run: {MODEL_ID}, a folder that holds a SmolVLM checkpoint, or demo",
        json_schema_extra={"flag": "--model-path"},
    )
    hf_home: Path | None = Field(None, description="Folder of the weights cache (HF_HOME)")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="Number type of weights and cache; auto takes the checkpoint's"
    )
    max_model_len: int = Field(0, ge=0, description="Context length in tokens; 0 takes the model's")
    max_batched_tokens: int = Field(
        0, ge=0, description="Tokens computed in one step; 0 takes 8192 on a GPU and 2048 on CPU"
    )
    max_seqs: int = Field(64, ge=1, description="Prompts computed in one step")
    prompts_in_engine: int = Field(
        0,
        ge=0,
        description="Prompts handed to vLLM at once; the others wait where calls take turns. 0 takes max-seqs and "
        "those being prepared",
    )
    background_beside: int = Field(
        0,
        ge=0,
        description="Background prompts let in beside other calls, and computed beside their prompts; others pause. "
        "0 takes an eighth of max-seqs on a GPU. On CPU, where each makes a step longer, it lets none in but one after "
        "16 others, and one a second",
    )
    prompts_in_preparation: int = Field(
        2, ge=1, description="Prompts whose frames are being resized at once, of 27 MB a frame at default resolution"
    )
    tensor_budget_mib: int = Field(
        4096,
        ge=1,
        description="Memory of prompts that are handed to vLLM, in MiB, 13 a frame at default resolution; the others "
        "wait where calls take turns",
    )
    stall_seconds: float = Field(
        300,
        ge=0,
        description="Seconds without a step, while there is work, after which the engine is taken to hang and is "
        "replaced; 0 waits for ever",
    )
    max_restarts: int = Field(
        4, ge=0, description="Restarts of the engine without an answer in between; at the next death the server ends"
    )
    kv_cache_gib: float = Field(
        0,
        ge=0,
        description="Memory of the KV cache in GiB; 0 chooses by the card (2 of 16, 6 of 24, 12 of 40, 24 of 80)",
    )
    tensor_parallel: int = Field(1, ge=1, description="GPUs over which the model is split")
    data_parallel: int = Field(1, ge=1, description="Copies of the model, each on GPUs of its own")
    eager: Literal["auto", "true", "false"] = Field(
        "auto", description="Skip graph capture and compilation; auto skips them on CPU, where they gain little"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "ERROR", description="Level of vLLM's own log; on CPU its warnings are mostly about what a GPU would have"
    )

    @property
    def beside(self) -> int:
        """How many background prompts are let in beside other calls; 0 lets in only what is due. Asks vLLM."""
        if self.background_beside:
            return self.background_beside
        return 0 if _on_cpu() else max(1, self.max_seqs // 8)

    @property
    def prompts_at_once(self) -> int:
        """How many prompts all copies of the model compute in one step each."""
        return self.max_seqs * self.data_parallel


def prepare_environment(settings: EngineSettings, *, offline: bool) -> None:
    """
    Set what vLLM and the hub's client read from the environment; to be called before either is imported.

    :param offline: the model is a local folder, so that nothing may ask the hub
    """
    wanted = {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a forked child would inherit threads' locks and CUDA's state
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output belongs to MMIF
        "VLLM_LOGGING_LEVEL": settings.log_level,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TRANSFORMERS_VERBOSITY": "error" if settings.log_level == "ERROR" else "warning",
    }
    if settings.hf_home is not None:
        wanted["HF_HOME"] = str(settings.hf_home.expanduser())
    if offline:
        wanted |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    # vLLM's default sampler on a GPU is compiled when it is first used, which takes a CUDA toolkit; torch's needs none.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    if not gpus():
        # The worker then lives in the engine core's process: half the start-up time, one process fewer.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")  # for the engine's processes
    os.environ.update(wanted)


def engine_args(settings: EngineSettings, model_folder: Path) -> "AsyncEngineArgs":
    """
    Turn the settings into vLLM's arguments for the model in ``model_folder``.

    :raises ValueError: what vLLM itself refuses
    """
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    on_cpu = _on_cpu()
    batched_tokens = _BATCHED_TOKENS_ON_CPU if on_cpu else _BATCHED_TOKENS_ON_GPU
    kv_cache_gib = settings.kv_cache_gib or (_KV_CACHE_ON_CPU if on_cpu else kv_cache_for(_smallest_card_gib(settings)))
    return AsyncEngineArgs(
        model=str(model_folder),
        served_model_name=settings.model,  # in vLLM's metrics, instead of the folder
        dtype=settings.dtype,
        max_model_len=settings.max_model_len or None,  # type: ignore[arg-type]  # None: the model's own
        max_num_batched_tokens=settings.max_batched_tokens or batched_tokens,
        max_num_seqs=settings.max_seqs,
        kv_cache_memory_bytes=int(kv_cache_gib * GIB),  # a share of the card would fail beside a neighbour
        gpu_memory_utilization=_SHARE_OF_CARD,
        tensor_parallel_size=settings.tensor_parallel,
        data_parallel_size=settings.data_parallel,
        enforce_eager=on_cpu if settings.eager == "auto" else settings.eager == "true",
        scheduling_policy="priority",
        scheduler_cls="engine.scheduling.Scheduler",
        additional_config={BESIDE: settings.beside},
        mm_processor_cache_gb=0,  # with it on, a prompt refused after preprocessing poisons the next one's images
        enable_prefix_caching=True,
        # vLLM's own choice, xgrammar, passes over some keywords of JSON Schema, and with maxLength lets control
        # characters through that JSON forbids. This one refuses what it can't enforce, and its work is bounded.
        structured_outputs_config=StructuredOutputsConfig(backend="guidance"),
        worker_cls="engine.cpu_worker.Worker" if on_cpu else "auto",
        use_tqdm_on_load=False,
        seed=0,
    )


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return current_platform.is_cpu()


def _smallest_card_gib(settings: EngineSettings) -> float:
    """Of the cards that vLLM will take, which are not all that there are where CUDA_VISIBLE_DEVICES says so."""
    from vllm.platforms import current_platform

    taken = range(settings.tensor_parallel * settings.data_parallel)
    try:
        return min(current_platform.get_device_total_memory(card) for card in taken) / GIB
    except Exception as error:  # the driver has its own; a slice of a card may not tell
        logger.warning(
            "The GPU does not say how much memory it has (%s: %s): the KV cache gets %g GiB. Set "
            "CAPTIONER_KV_CACHE_GIB if there is room for more.",
            type(error).__name__,
            error,
            _KV_CACHE_LEAST,
        )
        return 0.0


def kv_cache_for(card_gib: float) -> float:
    """Choose the size of the KV cache in GiB for a card of ``card_gib``."""
    fitting = [cache for card, cache in _KV_CACHE_BY_CARD if card_gib >= card]
    return fitting[-1] if fitting else _KV_CACHE_LEAST
