"""What vLLM has to say of a prompt that it does not answer, in the engine's words; what is counted meanwhile."""

import asyncio
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.exceptions import VLLMClientError
from vllm.v1.engine.exceptions import EngineGenerateError

from engine.engine import Engine
from engine.errors import PromptRefused
from engine.generation import Generation
from engine.settings import MIB, EngineSettings
from models import DEMO, choose
from tests.engine.played import Played, named
from tests.waiting import wait_until


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def ended(reason: str) -> Any:
    """vLLM's output of a prompt that ended without its answer."""
    answer = SimpleNamespace(finish_reason=reason, text="half", token_ids=[1], logprobs=None)
    return SimpleNamespace(outputs=[answer], prompt_token_ids=[1] * 8, num_cached_tokens=0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (VLLMClientError("it is too odd"), "The engine refused the prompt: it is too odd"),
        (caused(EngineGenerateError(), KeyError("x")), "The engine failed on the prompt: KeyError: 'x'"),
        (EngineGenerateError("no more"), "The engine failed on the prompt: EngineGenerateError: no more"),
        (ValueError("no such picture"), "The prompt can't be prepared: no such picture"),
    ],
)
def test_what_vllm_raises_is_said_in_the_engines_words(
    played: Played, mortal: Engine, error: Exception, words: str
) -> None:
    played.fails["p0"] = error
    call = mortal.open_call()
    refused, fine = call.submit(named("p0")), call.submit(named("p1"))
    with pytest.raises(PromptRefused) as seen:
        refused.result(timeout=60)
    assert str(seen.value) == words
    assert fine.result(timeout=60).text == "caption of p1"
    assert mortal.deaths == 0


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "The engine ended the prompt without an answer."),
        (ended("error"), "The engine gave the prompt up (error); its answer would be incomplete."),
    ],
)
def test_an_answer_that_is_not_whole_is_none(played: Played, mortal: Engine, output: Any, words: str) -> None:
    played.answers["p0"] = output
    with pytest.raises(PromptRefused) as seen:
        mortal.submit(named("p0")).result(timeout=60)
    assert str(seen.value) == words
    assert mortal.answered == 0


def test_a_prompt_that_has_become_too_long_is_not_asked(played: Played, mortal: Engine) -> None:
    """Replies before it may take more tokens to read than they took to write."""
    played.tokens = 4096
    with pytest.raises(PromptRefused) as seen:
        mortal.submit(named("p0")).result(timeout=60)
    assert str(seen.value).startswith(
        "The prompt is too long: 4096 tokens with its 0 frame(s) and the replies so far, "
    )
    assert played.generations[0].asked == ["warm-up"]


@pytest.mark.parametrize("way", ["an error", "an output"])
def test_a_prompt_that_ends_with_its_engine_goes_into_the_next(played: Played, mortal: Engine, way: str) -> None:
    """Some of what was in a process that is gone just ends, and vLLM doesn't say that it is gone."""
    (first,) = played.generations
    first._check = lambda: None  # type: ignore[method-assign]
    played.deadly = {"p0"}
    if way == "an error":
        played.fails["p0"] = EngineGenerateError("gone")
    else:
        played.answers["p0"] = ended("error")

    def is_mended(number: int) -> None:
        for fault in (played.deadly, played.fails, played.answers):
            fault.clear()

    played.build = is_mended
    assert mortal.submit(named("p0")).result(timeout=60).text == "caption of p0"
    assert mortal.deaths == 1
    assert played.seen == [(0, {"p0"})]


def test_prompts_are_counted_where_they_are(played: Played, mortal: Engine) -> None:
    names = {f"p{number}" for number in range(11)}
    played.held = set(names)
    call = mortal.open_call()
    futures = [call.submit(named(name)) for name in sorted(names)]
    wait_until(lambda: len(played.generations[0].inside) == 8 and mortal.waiting == 3)
    assert (mortal.in_flight, mortal.preparing, mortal.generating, mortal.answered) == (11, 0, 8, 0)
    played.held = set()
    for future in futures:
        future.result(timeout=60)
    assert (mortal.in_flight, mortal.generating, mortal.answered) == (0, 0, 11)


def test_what_it_says_of_itself(mortal: Engine) -> None:
    assert mortal.kv_cache_usage == 0.25
    assert mortal.bytes_limit == mortal.settings.tensor_budget_mib * MIB
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert {os.getpid(), child.pid} <= mortal.pids
    child.communicate()
    new = Engine(EngineSettings(), choose("demo"))
    assert (new.kv_cache_usage, new.unfinished_in_vllm, new.context_length, new.state) == (0, 0, 0, "new")


def test_a_vllm_that_does_not_let_go_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.generation._CLOSE_SECONDS", 0.05)
    generation, busy, let_go = Generation(EngineSettings(), DEMO), threading.Event(), threading.Event()

    def hang() -> None:
        busy.set()
        let_go.wait()

    generation._loop.call_soon_threadsafe(hang)
    busy.wait()
    generation.close()
    assert [record.getMessage() for record in caplog.records if record.name == "engine.generation"] == [
        "vLLM did not let go of its thread within 0 s; it is left behind."
    ]
    let_go.set()
    generation._thread.join()
    left = asyncio.all_tasks(generation._loop)
    generation._loop.run_until_complete(asyncio.gather(*left))
    generation._loop.close()
