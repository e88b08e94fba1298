"""vLLM as it comes: ``vllm.LLM``, all prompts at once. The ceiling for anything built on it."""

import os
import time
from pathlib import Path
from typing import Any

from bench.contenders import Spent
from bench.workloads import Workload


class Offline:
    """
    ``vllm.LLM`` with the engine's own arguments.

    :param folder: the checkpoint
    :param settings: the engine's, over the environment's
    """

    def __init__(self, folder: str, **settings: str) -> None:
        from transformers import AutoProcessor

        from engine.settings import EngineSettings, engine_args, prepare_environment

        os.environ |= {f"CAPTIONER_{name.upper()}": value for name, value in settings.items()}
        read = EngineSettings.read()
        prepare_environment(read, offline=True)
        from vllm import LLM

        arguments = engine_args(read, Path(folder))
        self._processor = AutoProcessor.from_pretrained(folder)
        self._llm: Any = LLM(
            arguments.model,
            **{
                name: getattr(arguments, name)
                for name in (
                    "dtype",
                    "max_model_len",
                    "max_num_batched_tokens",
                    "max_num_seqs",
                    "kv_cache_memory_bytes",
                    "gpu_memory_utilization",  # that vLLM wants to find free at its start, whatever it then takes
                    "enforce_eager",
                    "mm_processor_cache_gb",
                    "enable_prefix_caching",
                    "seed",
                )
            },
        )

    def caption(self, workload: Workload, at_once: int) -> Spent:
        """Caption all prompts; ``at_once`` means nothing here, it takes all it can."""
        from engine.context import Context
        from engine.conversation import chat_text
        from sampling.decoding import Decoding

        context = Context(self._processor, 0)
        prompts, samplings = [], []
        images = workload.images()
        for prompt, frames in zip(workload.prompts, images, strict=True):
            text = chat_text(self._processor, workload.messages(len(frames)))
            kwargs = context.processor_kwargs(workload.longest_edge or context.own_edge)
            prompts.append({"prompt": text, "multi_modal_data": {"image": frames}, **kwargs})
            sampling = Decoding(max_new_tokens=prompt.tokens).sampling_params()
            sampling.ignore_eos = workload.exact
            samplings.append(sampling)
        began = time.perf_counter()
        outputs = self._llm.generate(prompts, samplings, use_tqdm=False)
        seconds = time.perf_counter() - began
        return Spent(
            seconds,
            len(outputs),
            sum(map(len, images)),
            sum(len(output.prompt_token_ids) for output in outputs),
            sum(len(output.outputs[0].token_ids) for output in outputs),
            tuple(output.outputs[0].text.strip() for output in outputs),
        )

    def close(self) -> None:
        """End the engine."""
        del self._llm
