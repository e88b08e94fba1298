"""vLLM standing still for a moment, in which a call that goes before all that is in it is on its way there."""

import asyncio

from engine.generation import Generation

_LONGEST_SECONDS = 0.5  # a call that needs longer until its first prompt has gained what there is to be gained


class Standstill:
    """
    From a call's arrival to its first prompt, nothing but background prompts is in vLLM. On CPU each of their steps
    takes all the cores that the call is parsed and its frames are read on. For one event loop.
    """

    def __init__(self) -> None:
        self._generation: Generation | None = None  # that stands still
        self._timer: asyncio.TimerHandle

    @property
    def lasts(self) -> bool:
        """Whether vLLM stands still."""
        return self._generation is not None

    def begin(self, generation: Generation) -> None:
        """Have vLLM make no step until :meth:`end`, or half a second later."""
        if not self.lasts:
            self._generation = generation
            self._timer = asyncio.get_running_loop().call_later(_LONGEST_SECONDS, self.end)
            generation.stand_still(True)

    def end(self) -> None:
        """Let it go on. Idempotent."""
        generation, self._generation = self._generation, None
        if generation is not None:
            self._timer.cancel()
            generation.stand_still(False)
