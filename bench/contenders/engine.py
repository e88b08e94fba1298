"""This app's engine: prompts submitted as a call does it, so many in flight."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contenders import Spent
from bench.workloads import Workload

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.request import Request


class AppEngine:
    """
    The engine of :mod:`engine` without the app around it.

    :param folder: the checkpoint
    :param settings: the engine's, over the environment's
    """

    def __init__(self, folder: str, **settings: str) -> None:
        from engine.engine import Engine
        from engine.model import model_in
        from engine.settings import EngineSettings

        os.environ |= {f"CAPTIONER_{name.upper()}": value for name, value in settings.items()}
        self._engine = Engine(EngineSettings.read(), model_in(Path(folder)))
        self._engine.start()

    def caption(self, workload: Workload, at_once: int) -> Spent:
        """Caption all prompts through the sliding window of a call."""
        return answer(self._engine, requests_of(workload), at_once)

    def close(self) -> None:
        """End the engine."""
        self._engine.close()


def requests_of(workload: Workload) -> "list[Request]":
    """Return the requests that a call makes of a workload's prompts, their frames decoded."""
    from engine.request import Request
    from sampling.decoding import Decoding

    requests = []
    for prompt, images in zip(workload.prompts, workload.images(), strict=True):
        sampling = Decoding(max_new_tokens=prompt.tokens).sampling_params()
        sampling.ignore_eos = workload.exact
        messages = workload.messages(len(images))
        requests.append(Request([messages], images, sampling, longest_edge=workload.longest_edge))
    return requests


def answer(engine: "Engine", requests: "list[Request]", at_once: int) -> Spent:
    """Have requests answered as those of one call, ``at_once`` of them in flight."""
    from captioning.window import sliding_window

    call = engine.open_call()
    began = time.perf_counter()
    done = {id(request): future.result() for request, future in sliding_window(requests, call.submit, at_once)}
    seconds = time.perf_counter() - began
    completions = [done[id(request)] for request in requests]
    return Spent(
        seconds,
        len(completions),
        sum(len(request.images) for request in requests),
        sum(completion.prompt_tokens for completion in completions),
        sum(completion.completion_tokens for completion in completions),
        tuple(completion.text for completion in completions),
        sum(completion.cached_tokens for completion in completions),
    )
