"""Two copies of the model in one engine."""

import os
import signal

import psutil

from demo.cards import Card, draw_card
from engine.engine import Engine
from engine.settings import EngineSettings
from models import choose
from tests.engine.test_engine_life import of
from tests.waiting import wait_until

CARDS = [Card("slate", "blue", number) for number in range(40)]


def test_they_share_the_work_and_the_death_of_one_costs_no_caption() -> None:
    engine = Engine(EngineSettings(data_parallel=2), choose("demo"))
    engine.start()
    try:
        generation = engine._generation
        assert generation is not None
        copies = {psutil.Process(pid).name(): pid for pid in generation.pids if "Core" in psutil.Process(pid).name()}
        assert sorted(copies) == ["VLLM::EngineCore_DP0", "VLLM::EngineCore_DP1"]
        call = engine.open_call()
        futures = [call.submit(of(draw_card(card, (640, 480)))) for card in CARDS]
        wait_until(lambda: [unfinished > 0 for _, unfinished in generation._heard.values()] == [True, True])
        os.kill(copies["VLLM::EngineCore_DP1"], signal.SIGKILL)
        assert [future.result().text for future in futures] == [card.phrase for card in CARDS]
        assert (engine.deaths, engine.restarts) == (1, 1)
    finally:
        engine.close()
