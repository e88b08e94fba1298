"""Start, death and end of an engine, each on one of its own."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from PIL import Image
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from engine.engine import Engine, Request
from engine.errors import EngineDied, EngineStartError, EngineUnavailable
from engine.model import Model, model_in
from engine.settings import EngineSettings
from models import DEMO, choose

MESSAGES = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}]]
ENDLESS = SamplingParams(max_tokens=1500, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)
FRAME = Image.new("RGB", (640, 480), "navy")


def engine_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "EngineCore" in child.name()]


def test_death_fails_what_is_in_flight_and_what_comes_after() -> None:
    before = set(engine_processes())
    engine = Engine(EngineSettings.read(), choose("demo"))
    told: list[str] = []
    engine.on_death = lambda: told.append(engine.state)
    engine.start()
    try:
        (core,) = set(engine_processes()) - before
        in_flight = [engine.submit(Request(MESSAGES, [FRAME], ENDLESS)) for _ in range(3)]
        os.kill(core.pid, signal.SIGKILL)
        for future in in_flight:
            with pytest.raises(EngineDied):
                future.result(timeout=60)
        assert not engine.is_ready
        assert engine.state == "dead"
        assert told == ["dead"]
        with pytest.raises(EngineUnavailable, match="it is dead"):
            engine.submit(Request(MESSAGES, [FRAME], ENDLESS)).result()
        with pytest.raises(EngineUnavailable, match="dead"):
            engine.start()
    finally:
        engine.close()
    assert set(engine_processes()) == before


def test_closing_fails_what_is_in_flight_and_leaves_no_process() -> None:
    before = set(engine_processes())
    engine = Engine(EngineSettings.read(), choose("demo"))
    engine.start()
    engine.start()  # does nothing
    (core,) = set(engine_processes()) - before
    in_flight = engine.submit(Request(MESSAGES, [FRAME], ENDLESS))
    engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        in_flight.result(timeout=60)
    assert not core.is_running()
    engine.close()  # does nothing
    with pytest.raises(EngineUnavailable, match="it is closed"):
        engine.submit(Request(MESSAGES, [FRAME], ENDLESS)).result()


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
