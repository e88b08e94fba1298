"""
vLLM's worker on CPU, with seeds for prompts of any length. Imported by vLLM alone, in its own process.

A prompt that doesn't fit into a step is read in several. In each of them but the last vLLM draws a token, throws it
away, and turns the random numbers of a request with a seed back by what that took. Those of a CPU can't be turned back,
and the attempt ends the engine (``_bookkeeping_sync`` in vLLM 0.32.0). Here they are out of reach meanwhile: the draw
takes others, and nothing has to be turned back.
"""

from typing import Any

import numpy as np
from vllm.v1.worker.cpu_worker import CPUWorker


class Worker(CPUWorker):
    """Named to vLLM by :func:`engine.settings.engine_args`."""

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Draw the tokens of a step."""
        batch = self.model_runner.input_batch
        thrown_away = np.nonzero(self.model_runner.discard_request_mask.np[: batch.num_reqs])[0].tolist()
        kept = {row: batch.generators.pop(row) for row in thrown_away if row in batch.generators}
        try:
            return super().sample_tokens(grammar_output)
        finally:
            batch.generators.update(kept)
