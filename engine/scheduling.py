"""
vLLM's scheduler, in which background prompts make room. For the engine's own process, where vLLM looks it up by name.

In each step vLLM computes a token of every prompt that is running, and reads some that are new; a step takes the longer
the more there are, above all on CPU. So while others are there, only the first few of the background's are computed, on
CPU one in every ``BACKGROUND_SHARE`` steps; the rest pause where they are, with their KV, or wait to be read, and go on
when the others are done. The first few get on, so nobody stands still for ever.
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from engine.settings import BACKGROUND, BESIDE
from engine.window import BACKGROUND_SHARE


class Scheduler(AsyncScheduler):
    """Decides what is computed in a step."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        told: Any = self.vllm_config.additional_config
        self._told = int(told[BESIDE])
        self._steps = 0
        self._left_waiting: set[str] = set()  # by the step before: there is no seat for them, or no KV

    def schedule(self, *arguments: Any, **named: Any) -> SchedulerOutput:
        """Plan the next step."""
        waiting = {request.request_id for request in self.waiting if not in_background(request)}
        background = [request for request in self.running if in_background(request)]
        others = len(self.running) - len(background) + len(waiting)
        self._steps += 1
        beside = self._told or int(self._steps % BACKGROUND_SHARE == 0)
        held_back: list[Request] = []
        if others and not waiting & self._left_waiting:  # what background prompts hold may be what these wait for
            for request in sorted(background, key=_turn)[beside:]:
                self._pause(request)
            new = sorted((request for request in self.waiting if in_background(request)), key=_turn)
            held_back = new[max(0, beside - len(background)) :]
        self._left_waiting = waiting
        self.waiting.remove_requests(held_back)
        output = super().schedule(*arguments, **named)
        self.waiting.prepend_requests(held_back)
        return output

    def _pause(self, request: Request) -> None:
        # vLLM's own way of passing over a running request, for one step: its counter is raised when that begins.
        request.next_decode_eligible_step = max(request.next_decode_eligible_step, self.current_step + 2)


def in_background(request: Request) -> bool:
    """Whether a request is a background call's."""
    sampling = request.sampling_params
    return sampling is not None and bool((sampling.extra_args or {}).get(BACKGROUND))


def _turn(request: Request) -> tuple[int, float]:
    return request.priority, request.arrival_time
