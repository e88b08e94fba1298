"""An engine whose vLLM is played: what its prompts come to, and when it dies, is for the test to say."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vllm import SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError

import engine.engine
from engine.engine import Engine
from engine.request import Request
from engine.settings import EngineSettings
from models import choose


class Played:
    """What the engines of a test do, and what they saw."""

    def __init__(self) -> None:
        self.generations: list[PlayedGeneration] = []
        self.deadly: set[str] = set()
        self.tokens = 8  # of a prompt that is prepared
        self.slow: set[str] = set()  # prompts that are never prepared
        self.held: set[str] = set()  # prompts that are never answered
        self.fails: dict[str, Exception] = {}  # prompts with what vLLM raises in place of an answer
        self.answers: dict[str, Any] = {}  # prompts with vLLM's output
        self.seen: list[tuple[int, set[str]]] = []  # at each death: the generation and what it had in it
        self.build: Callable[[int], None] = lambda number: None

    def make(self, settings: EngineSettings, folder: Path) -> Any:
        made = PlayedGeneration(self, len(self.generations))
        self.generations.append(made)
        return made


class PlayedGeneration:
    context_length = 4096
    unfinished = 0
    kv_cache_usage = 0.25

    def __init__(self, played: Played, number: int) -> None:
        self.played = played
        self.number = number
        self.died = False
        self.stalled = False
        self.closed = False
        self.inside: set[str] = set()
        self.rendered: list[str] = []  # texts
        self.prepared: list[str] = []  # names of prompts
        self.asked: list[str] = []  # likewise
        self.copies: dict[str, int | None] = {}  # of the model, that was asked last, by the prompt's name

    def build(self) -> None:
        self.played.build(self.number)

    async def render(self, prompt: dict[str, Any]) -> Any:
        name = named_in(prompt["prompt"])
        self.rendered.append(prompt["prompt"])
        self.prepared.append(name)
        while name in self.played.slow:
            await asyncio.sleep(0.001)
        return {"prompt_token_ids": [1] * self.played.tokens, "prompt": prompt["prompt"]}

    async def generate(
        self,
        rendered: Any,
        sampling: SamplingParams,
        priority: int,
        on_read: Callable[[], None] | None = None,
        copy: int | None = None,
    ) -> Any:
        name = named_in(rendered["prompt"])
        self.asked.append(name)
        self.copies[name] = copy
        self.inside.add(name)
        try:
            for _ in range(5):
                await asyncio.sleep(0)
            if name in self.played.deadly:
                self.die()
            while name in self.played.held or self.stalled:
                await asyncio.sleep(0.001)
                self._check()
            self._check()
            if name in self.played.fails:
                raise self.played.fails[name]
        finally:
            self.inside.discard(name)
        if name in self.played.answers:
            return self.played.answers[name]
        answer = SimpleNamespace(finish_reason="stop", text=f"caption of {name}", token_ids=[1, 2], logprobs=None)
        return SimpleNamespace(outputs=[answer], prompt_token_ids=[1] * 8, num_cached_tokens=0)

    def die(self) -> None:
        if not self.died:
            self.played.seen.append((self.number, set(self.inside)))
        self.died = True

    def silence(self, since: float) -> float:
        return 1e9 if self.stalled else 0.0

    def close(self, *, kill: bool = False) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.died:
            raise EngineDeadError


def named_in(text: str) -> str:
    """The name in a prompt's text."""
    return text.split("#")[-2] if "#" in text else "warm-up"


def named(name: str, turns: int = 1) -> Request:
    messages: list[Any] = []
    conversation = []
    for number in range(turns):
        messages.append({"role": "user", "content": [{"type": "text", "text": f"turn {number} #{name}#"}]})
        conversation.append(list(messages))
        messages.append({"role": "assistant", "content": None})
    return Request(conversation, [], SamplingParams(max_tokens=8))


@contextlib.contextmanager
def started(played: Played, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that waits next to nothing before it looks after its vLLM, and before it starts another."""
    monkeypatch.setattr(engine.engine, "_BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(engine.engine, "_WATCH_SECONDS", 0.005)
    settings = EngineSettings(prompts_in_engine=8, prompts_in_preparation=8)
    made = Engine(settings, choose("demo"), played.make)
    made.start()
    yield made
    made.close()
    assert made.in_flight == 0
    assert all(generation.closed for generation in played.generations)
