"""When each prompt passes from stage to stage of the engine."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.engine import Engine

STAGES = ("preparing", "waiting for vLLM", "encoder and prefill", "writing tokens", "coming back")


@dataclass
class Trace:
    """
    The life of one prompt, in seconds of the machine's monotonic clock, which vLLM's process shares.

    :param taken: its frames began to be resized
    :param prepared: it went to vLLM
    :param scheduled: vLLM began to compute it
    :param first: its first token was there; with it, the vision encoder and the prefill are done
    :param last: its last token was there
    :param done: the answer was back
    """

    taken: float
    prepared: float = 0
    scheduled: float = 0
    first: float = 0
    last: float = 0
    done: float = 0

    @property
    def stages(self) -> dict[str, float]:
        """Seconds in each of ``STAGES``."""
        times = (self.taken, self.prepared, self.scheduled, self.first, self.last, self.done)
        return {stage: max(0.0, end - begin) for stage, begin, end in zip(STAGES, times[:-1], times[1:])}


@contextlib.contextmanager
def traced(engine: "Engine") -> Iterator[list[Trace]]:
    """Watch the prompts that the engine answers meanwhile."""
    generation: Any = engine._generation
    traces: list[Trace] = []
    open_traces: dict[int, Trace] = {}
    render, generate = generation.render, generation.generate

    async def watched_render(prompt: Any) -> Any:
        trace = Trace(time.monotonic())
        rendered = await render(prompt)
        trace.prepared = time.monotonic()
        open_traces[id(rendered)] = trace
        return rendered

    async def watched_generate(rendered: Any, *arguments: Any) -> Any:
        output = await generate(rendered, *arguments)
        trace = open_traces.pop(id(rendered))
        trace.done = time.monotonic()
        told = output.metrics
        trace.scheduled, trace.first, trace.last = told.scheduled_ts, told.first_token_ts, told.last_token_ts
        traces.append(trace)
        return output

    generation.render, generation.generate = watched_render, watched_generate
    try:
        yield traces
    finally:
        del generation.render, generation.generate
