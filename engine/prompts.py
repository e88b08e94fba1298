"""The prompts of an engine, from their submission to their answer: they take turns, and outlive a death of vLLM."""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future

from engine.answering import Answering
from engine.calls import Ending, Prompt, WindowPassage
from engine.errors import EngineDied, EngineUnavailable, PromptRefused
from engine.generation import Generation
from engine.request import Completion
from engine.settings import MIB, EngineSettings
from engine.standstill import Standstill
from engine.window import Window

_PATIENCE_SECONDS = 1.0  # of the background, until one of its prompts is let in beside others


class Prompts:
    """
    What is in flight in one engine. All of it runs on the engine's loop; other threads may look at its counts.

    :param settings: how many prompts there may be where
    :param refusal: says why nothing is taken now, if it isn't
    :param on_end: told of every prompt that ends
    """

    def __init__(
        self,
        settings: EngineSettings,
        refusal: Callable[[], EngineUnavailable | None],
        on_end: Callable[[Ending], None],
    ) -> None:
        self.answered = 0
        size = settings.prompts_in_engine or settings.prompts_at_once + settings.prompts_in_preparation
        self.window: Window[Prompt] = Window(size, settings.prompts_in_preparation, settings.tensor_budget_mib * MIB)
        self._settings = settings
        self._refusal = refusal
        self._on_end = on_end
        self._all: dict[Future[Completion], Prompt] = {}
        self._standstill = Standstill()
        self._background_went = 0.0  # by time.monotonic(): when the last of its prompts was let in
        self._generation: Generation | None = None  # that they go into, while there is one
        self._answering: Answering  # known before the first prompt comes

    @property
    def in_flight(self) -> int:
        """How many were submitted and are not done."""
        return len(self._all)

    def set_going(self, generation: Generation, answering: Answering) -> None:
        """Let prompts into a generation that is ready."""
        self._generation, self._answering = generation, answering
        self.window.beside = self._settings.beside
        self.pump()

    async def stop_going(self) -> None:
        """Let none in any more, and no answer out."""
        self._generation = None
        self._standstill.end()
        tasks = [prompt.task for prompt in self._all.values() if prompt.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def put_back(self) -> None:
        """
        Let those that were in vLLM when it died wait again, if nothing goes any more. Those that were there at two
        deaths go in alone; one that was alone at the last of these is refused.
        """
        present = self.window.admitted
        suspects = [prompt for prompt in present if prompt.in_vllm]
        for prompt in present:
            prompt.deaths += prompt.in_vllm
            again = prompt.in_vllm and prompt.deaths > 1
            prompt.in_vllm = False
            prompt.further = None
            if again and len(suspects) == 1:
                self._finish(
                    prompt,
                    PromptRefused(
                        f"The engine died {prompt.deaths} times while it worked on it, at last on nothing else; it is "
                        "not tried again. Look at its frames, or set maxImagesPerPrompt or longestEdge lower."
                    ),
                )
            else:
                self.window.put_back(prompt, alone=again)

    def end(self, error: Callable[[], Exception]) -> None:
        """End all of them with an error of their own each, and let none in any more."""
        self._generation = None
        for prompt in list(self._all.values()):
            self._finish(prompt, error())

    def add(self, prompt: Prompt) -> None:
        """Take a prompt in, if any are taken."""
        if refusal := self._refusal():
            self._finish(prompt, refusal)
        elif prompt.future.cancelled():
            self._follow(prompt)
        else:
            self._let_wait(prompt, functools.partial(self.window.put, prompt, prompt.lane))

    def drop(self, future: "Future[Completion]") -> None:
        """Take out the prompt whose future was cancelled, wherever it is."""
        prompt = self._all.get(future)
        if prompt is None:  # done, or not there yet
            return
        if prompt.task is not None:
            prompt.task.cancel()
        self._finish(prompt, EngineUnavailable("The prompt was cancelled."))

    def note_others(self, others: bool) -> None:
        """Take note whether there are calls that the background is to hold back for."""
        self.window.others = others
        present = self.window.admitted
        if others and present and all(prompt.lane.background for prompt in present):
            self._stand_still()
        elif not others:
            self._standstill.end()
        self.pump()

    def see_to_background(self) -> None:
        """Let a prompt of the background in, should none have gone for a while. To be called now and then."""
        if time.monotonic() - self._background_went > _PATIENCE_SECONDS:
            self.window.owe()
            self.pump()

    def pump(self) -> None:
        """Let in whatever may go in now."""
        if self._standstill.lasts and any(
            prompt.in_vllm and not prompt.lane.background for prompt in self.window.admitted
        ):
            # When it is handed in, which happens next: else vLLM would begin with a step of the background's alone.
            asyncio.get_running_loop().call_soon(self._standstill.end)
        while self._generation is not None and (admission := self.window.take()):
            prompt = admission.prompt
            prompt.priority = admission.priority
            prompt.since = time.monotonic()
            if prompt.lane.background:
                self._background_went = prompt.since
            if prompt.further is not None:
                prompt.further.set_result(None)
                prompt.further = None
            else:
                if prompt.copy is None:
                    prompt.copy = self._least_busy_copy()
                run = self._run(prompt, self._generation)
                prompt.task = asyncio.get_running_loop().create_task(run, context=prompt.context)

    def _least_busy_copy(self) -> int | None:
        """Which of several copies of the model has fewest prompts; ``None`` where there is one."""
        if self._settings.data_parallel == 1:
            return None
        busy = Counter(prompt.copy for prompt in self.window.admitted)
        return min(range(self._settings.data_parallel), key=lambda copy: busy[copy])

    def _stand_still(self) -> None:
        alone = self._settings.data_parallel == 1  # several engines have to agree on it, which takes them longer
        if alone and not self.window.beside and self._generation is not None:
            self._standstill.begin(self._generation)

    def _follow(self, prompt: Prompt) -> None:
        """Let the prompt that waits for this one to be read go next."""
        follower, prompt.follower = prompt.follower, None
        if follower is None:
            return
        follower.priority, follower.copy = prompt.priority, prompt.copy  # where the KV of its frames is
        if follower.future.cancelled():
            self._follow(follower)
        elif refusal := self._refusal():
            self._finish(follower, refusal)
        else:
            self._let_wait(follower, functools.partial(self.window.follow, follower, follower.priority, follower.lane))

    def _let_wait(self, prompt: Prompt, put: Callable[[int], None]) -> None:
        """Reckon what a prompt will hold, and let it wait for its turn."""
        self._all[prompt.future] = prompt
        try:
            prompt.fit = self._answering.fit(prompt.request)
            held = self._answering.held(prompt.request, prompt.fit)
        except Exception as error:  # seen by the caller
            self._finish(prompt, error)
            return
        put(held)
        self.pump()

    async def _run(self, prompt: Prompt, generation: Generation) -> None:
        passage = WindowPassage(prompt, self.window, self.pump, self._follow)
        try:
            completion = await self._answering.answer(generation, prompt.request, prompt.fit, passage)
        except EngineDied:
            pass  # it stays where it is until it is put back
        except Exception as error:  # seen by the caller
            if not generation.died:
                self._finish(prompt, error)
        else:
            self.answered += 1
            self._finish(prompt, completion)

    def _finish(self, prompt: Prompt, outcome: Completion | Exception) -> None:
        self.window.leave(prompt)
        if self._all.pop(prompt.future, None):
            self._on_end(Ending.of(prompt, outcome))
        prompt.settle(outcome)
        self._follow(prompt)
        self.pump()
