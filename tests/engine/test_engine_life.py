"""Start, death, return and end of an engine, on engines of their own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from PIL import Image
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from demo.cards import Card, draw_card
from engine.engine import Engine
from engine.errors import EngineDied, EngineStartError, EngineUnavailable, PromptRefused
from engine.generation import Generation
from engine.model import Model, model_in
from engine.request import Completion, Request
from engine.settings import EngineSettings
from models import DEMO, choose
from sampling.decoding import Decoding
from tests.waiting import wait_until

MESSAGES: Any = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}]]
FRAME = Image.new("RGB", (640, 480), "navy")
FRAMES = [draw_card(Card("slate", "blue", number), (640, 480)) for number in range(10)]
POISON = 77  # tokens; what marks the prompt that kills


def of_tokens(tokens: int, frame: Image.Image = FRAME) -> Request:
    """A prompt whose answer has exactly so many tokens."""
    sampling = SamplingParams(max_tokens=tokens, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)
    return Request(MESSAGES, [frame], sampling)


def of(frame: Image.Image) -> Request:
    """A prompt that ends by itself; what a model is made to say past its end hangs on what runs beside it."""
    return Request(MESSAGES, [frame], Decoding(max_new_tokens=60).sampling_params())


def engine_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "EngineCore" in child.name()]


def core_of(engine: Engine) -> int:
    """The engine's own core, as the session's engine may have one, too."""
    assert engine._generation is not None
    (core,) = (pid for pid in engine._generation.pids if "EngineCore" in psutil.Process(pid).name())
    return core


def resources_of(engine: Engine) -> Any:
    """What vLLM has to tidy up when the engine has ended."""
    assert engine._generation is not None
    assert engine._generation._llm is not None
    client: Any = engine._generation._llm.engine_core
    return client.resources


def wait_until_at_work(engine: Engine) -> None:
    wait_until(lambda: engine.unfinished_in_vllm >= 2)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Engine]:
    before = set(engine_processes())
    engine = Engine(EngineSettings(prompts_in_engine=4, stall_seconds=10), choose("demo"))
    engine.start()
    yield engine
    engine.close()
    assert set(engine_processes()) == before


@pytest.fixture(scope="module")
def undisturbed(mortal: Engine) -> list[str]:
    return [mortal.submit(of(frame)).result().text for frame in FRAMES]


def test_a_killed_engine_costs_no_caption(mortal: Engine, undisturbed: list[str]) -> None:
    left = resources_of(mortal)
    tidying = threading.Event()
    # vLLM's own thread, which notices the death, comes to the sockets last, and here too late.
    left.coordinator = SimpleNamespace(shutdown=tidying.wait)
    call = mortal.open_call()
    futures = [call.submit(of(frame)) for frame in FRAMES]
    wait(futures, return_when=FIRST_COMPLETED)
    killed = core_of(mortal)
    os.kill(killed, signal.SIGKILL)
    late: Future[Completion] | None = None
    while not (late and late.done()):
        if mortal.state == "restarting" and late is None:
            assert not mortal.is_ready
            late = call.submit(of(FRAMES[2]))
        time.sleep(0.005)
    assert [future.result().text for future in futures] == undisturbed
    assert len(set(undisturbed)) == len(FRAMES)
    assert late.result().text == undisturbed[2]
    assert (mortal.deaths, mortal.state, mortal.is_ready) == (1, "ready", True)
    assert core_of(mortal) != killed
    assert (mortal.in_flight, mortal.waiting) == (0, 0)
    assert (left.input_socket.closed, left.output_socket.closed) == (True, True)
    tidying.set()


def test_a_hanging_engine_costs_no_caption(mortal: Engine, undisturbed: list[str]) -> None:
    deaths, hanging = mortal.deaths, core_of(mortal)
    call = mortal.open_call()
    long = [call.submit(of_tokens(300, frame)) for frame in FRAMES[:3]]
    futures = [call.submit(of(frame)) for frame in FRAMES]
    wait_until_at_work(mortal)
    os.kill(hanging, signal.SIGSTOP)
    assert [future.result().text for future in futures] == undisturbed
    assert [future.result().completion_tokens for future in long] == [300] * 3
    assert mortal.deaths == deaths + 1
    assert not psutil.pid_exists(hanging) or psutil.Process(hanging).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("number", "costs"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_to_all_processes_costs_no_caption(
    mortal: Engine, undisturbed: list[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals, costs: int
) -> None:
    """A terminal and some supervisors send it to the engine, too: what it means is for the process that has it."""
    # vLLM notices that it died only after it has answered; here, so much later that nothing else can tell.
    monkeypatch.setattr(AsyncLLM, "errored", property(lambda self: False))
    deaths, core = mortal.deaths, core_of(mortal)
    call = mortal.open_call()
    futures = [call.submit(of(frame)) for frame in FRAMES]
    followers = [call.submit_in_turn([of(frame), of(frame)]) for frame in FRAMES[:2]]
    wait_until_at_work(mortal)
    os.kill(core, number)
    assert [future.result().text for future in futures] == undisturbed
    assert [[future.result().text for future in both] for both in followers] == [[undisturbed[n]] * 2 for n in (0, 1)]
    assert mortal.deaths == deaths + costs
    assert (core_of(mortal) == core) == (costs == 0)


def test_a_prompt_that_kills_twice_is_refused_and_others_go_on(
    mortal: Engine, undisturbed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = Generation.generate

    async def deadly(self: Generation, rendered: Any, sampling: SamplingParams, *more: Any) -> Any:
        if sampling.max_tokens == POISON:
            self._family.kill()
        return await generate(self, rendered, sampling, *more)

    monkeypatch.setattr(Generation, "generate", deadly)
    # So that it is alone both times, and two restarts are enough.
    monkeypatch.setattr(mortal._prompts.window, "size", 1)
    deaths = mortal.deaths
    call = mortal.open_call()
    poison = call.submit(of_tokens(POISON))
    futures = [call.submit(of(frame)) for frame in FRAMES]
    with pytest.raises(PromptRefused, match="The engine died 2 times while it worked on it"):
        poison.result()
    assert [future.result().text for future in futures] == undisturbed
    assert mortal.deaths == deaths + 2


def test_past_the_limit_it_stays_dead(mortal: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(mortal, "settings", mortal.settings.model_copy(update={"max_restarts": 0}))
    monkeypatch.setattr(mortal, "on_death", lambda: told.append(mortal.state))
    in_flight = [mortal.submit(of_tokens(1500)) for _ in range(6)]
    wait_until_at_work(mortal)
    os.kill(core_of(mortal), signal.SIGKILL)
    for future in in_flight:
        with pytest.raises(EngineDied, match="could not be brought back"):
            future.result()
    assert not mortal.is_ready
    assert mortal.state == "dead"
    with pytest.raises(EngineUnavailable, match="it is dead"):
        mortal.submit(of_tokens(4)).result()
    with pytest.raises(EngineUnavailable, match="dead"):
        mortal.start()
    wait_until(lambda: told)
    assert told == ["dead"]


OWNER = """
import os, signal, sys
from engine.engine import Engine
from engine.settings import EngineSettings
from models import choose

if __name__ == "__main__":
    engine = Engine(EngineSettings.read(), choose("demo"))
    engine.start()
    print(*engine._generation.pids, engine._generation._family._watcher.pid, flush=True)
    signal.pause()
"""


def test_no_process_outlives_a_killed_owner() -> None:
    root = Path(__file__).parent.parent.parent
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, cwd=root)
    assert owner.stdout is not None
    family = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    (core,) = [process for process in family if "EngineCore" in process.name()]
    everything = psutil.Process(owner.pid).children(recursive=True)
    assert set(family) <= set(everything)
    core.suspend()  # it can't notice anything by itself
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert psutil.wait_procs(everything, timeout=120)[1] == []


def test_closing_fails_what_is_in_flight_and_leaves_no_process() -> None:
    before = set(engine_processes())
    engine = Engine(EngineSettings.read(), choose("demo"))
    engine.start()
    engine.start()  # does nothing
    (core,) = set(engine_processes()) - before
    in_flight = engine.submit(of_tokens(1500))
    engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        in_flight.result(timeout=60)
    assert not core.is_running()
    engine.close()  # does nothing
    with pytest.raises(EngineUnavailable, match="it is closed"):
        engine.submit(of_tokens(1500)).result()


def test_what_was_closed_is_not_built() -> None:
    before = set(engine_processes())
    generation = Generation(EngineSettings.read(), DEMO)
    generation.close()
    with pytest.raises(RuntimeError, match="was closed while it was being started"):
        generation.build()
    generation.close()  # does nothing
    assert set(engine_processes()) == before


def test_a_damaged_checkpoint_is_a_start_error(tmp_path: Path) -> None:
    before = set(engine_processes())
    for file in DEMO.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    engine = Engine(EngineSettings.read(), model_in(tmp_path))
    with pytest.raises(EngineStartError, match="did not start"):
        engine.start()
    assert set(engine_processes()) == before


def test_missing_weights_name_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))  # so that what the engine sets is unset again
    engine = Engine(EngineSettings(hf_home=tmp_path), Model("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "482adb5", None))
    with pytest.raises(EngineStartError) as caught:
        engine.start()
    for part in ("HuggingFaceTB/SmolVLM2-2.2B-Instruct@482adb5", "--model-path", "CAPTIONER_MODEL=demo"):
        assert part in str(caught.value)
