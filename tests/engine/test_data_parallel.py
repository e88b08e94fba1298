"""Two copies of the model in one engine."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from demo.cards import Card, draw_card
from engine.engine import Engine
from engine.request import Request
from engine.settings import EngineSettings
from models import choose
from sampling.decoding import Decoding
from tests.engine.test_engine_life import of
from tests.engine.test_following import BLOCK
from tests.waiting import wait_until

CARDS = [Card("slate", "blue", number) for number in range(40)]


@pytest.fixture(scope="module")
def twins() -> Iterator[Engine]:
    """Two copies of the model in one engine."""
    engine = Engine(EngineSettings(data_parallel=2), choose("demo"))
    engine.start()
    yield engine
    engine.close()


def test_a_prompt_over_the_same_frames_goes_where_they_have_been_read(twins: Engine) -> None:
    frames = [draw_card(card, (640, 480)) for card in CARDS]
    for number in range(0, 36, 6):
        shown = frames[number : number + 6]
        parts: list[Any] = [{"type": "image"}] * len(shown)
        requests = [
            Request(
                [[{"role": "user", "content": [*parts, {"type": "text", "text": f"Describe the {name}"}]}]],
                shown,
                Decoding(max_new_tokens=30).sampling_params(),
            )
            for name in "abc"
        ]
        first, second, third = [future.result() for future in twins.open_call().submit_in_turn(requests)]
        assert (first.cached_tokens, second.cached_tokens, third.cached_tokens) == (0, BLOCK, BLOCK)


def test_they_share_the_work_and_the_death_of_one_costs_no_caption(twins: Engine) -> None:
    generation = twins._generation
    assert generation is not None
    copies = {psutil.Process(pid).name(): pid for pid in generation.pids if "Core" in psutil.Process(pid).name()}
    assert sorted(copies) == ["VLLM::EngineCore_DP0", "VLLM::EngineCore_DP1"]
    call = twins.open_call()
    futures = [call.submit(of(draw_card(card, (640, 480)))) for card in CARDS]
    wait_until(lambda: [unfinished > 0 for _, unfinished in generation._heard.values()] == [True, True])
    os.kill(copies["VLLM::EngineCore_DP1"], signal.SIGKILL)
    assert [future.result().text for future in futures] == [card.phrase for card in CARDS]
    assert (twins.deaths, twins.restarts) == (1, 1)
