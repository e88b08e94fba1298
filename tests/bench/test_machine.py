"""What is measured of the machine itself: on the device that computes the model, and until that has done its work."""

import subprocess
from pathlib import Path

import pytest
import torch

from bench import limits, machine


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Small matrices, a machine that seems to have a GPU, and a note of each time that it is waited for."""
    monkeypatch.setattr(machine, "PROBE_EDGE", 8)
    monkeypatch.setattr(machine, "PROBE_SECONDS", 0.01)
    for name in ("ROWS", "WIDTH", "INNER", "MATRIX_BYTES"):
        monkeypatch.setattr(limits, name, 64)
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("waited"))
    # Tensors of the GPU that isn't there are the processor's.
    for make in ("ones", "rand"):
        monkeypatch.setattr(torch, make, on_no_gpu(getattr(torch, make), waited))
    return waited


def on_no_gpu(make, waited):  # type: ignore[no-untyped-def]
    def made(*sizes: int, device: str, **named: object) -> torch.Tensor:
        waited.append(f"made on {device}")
        return make(*sizes, device="cpu", **named)  # type: ignore[no-any-return]

    return made


def test_a_machine_with_a_gpu_is_probed_on_it(waits: list[str]) -> None:
    assert machine.probe() > 0
    assert waits[0] == "made on cuda"
    assert set(waits[1:]) == {"waited"}


def test_the_limits_of_a_machine_with_a_gpu_are_the_gpus(waits: list[str]) -> None:
    found = limits.limits()
    assert found.flops > 0
    assert found.bandwidth > 0
    assert {wait for wait in waits if wait.startswith("made")} == {"made on cuda"}
    # Before and after each of the rounds, of products and of reading.
    assert waits.count("waited") == 2 * 2 * limits.ROUNDS


def test_a_processor_is_not_waited_for(waits: list[str]) -> None:
    assert machine.probe("cpu") > 0
    limits.limits("cpu")
    assert "waited" not in waits


def test_both_ways_to_probe_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROBE_EDGE", 8)
    machine._numpy_product()()
    machine._torch_product("cpu")()


def test_code_is_changed_and_documentation_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's first result made all that were measured after it results of changed code."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    for file in ("docs/benchmarks/a.json", "app.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("before")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    assert machine.revision()["changed"] is False
    (tmp_path / "docs" / "benchmarks" / "a.json").write_text("after")
    assert machine.revision()["changed"] is False
    (tmp_path / "app.py").write_text("after")
    assert machine.revision()["changed"] is True
