"""What the app says of GPUs, from an nvidia-smi that answers as a real one does."""

import json
import os
from pathlib import Path

import pytest

from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from engine import hardware
from engine.hardware import MIB, Gpu, gpus, memory_held

ANSWERS = """#!/bin/sh
case "$1" in
  --query-gpu=uuid,name,memory.total,memory.free) echo "GPU-1, NVIDIA A30, 24576, 20000"; echo "GPU-2, NVIDIA T4, 15360, 15000";;
  --query-compute-apps=*) echo "GPU-1, $CAPTIONER_PID, 7000"; echo "GPU-1, 1, 900"; echo "GPU-2, 2, [N/A]";;
  *) echo "unexpected $1" >&2; exit 6;;
esac
"""  # noqa: E501


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "nvidia-smi"
    program.write_text(ANSWERS.replace("$CAPTIONER_PID", str(os.getpid())))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


@pytest.mark.usefixtures("nvidia_smi")
def test_gpus_and_what_processes_hold() -> None:
    assert gpus() == [
        Gpu("GPU-1", "NVIDIA A30", 24576 * MIB, 20000 * MIB),
        Gpu("GPU-2", "NVIDIA T4", 15360 * MIB, 15000 * MIB),
    ]
    assert memory_held({os.getpid(), 2}) == {"GPU-1": 7000 * MIB}


def test_without_a_driver_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (gpus(), memory_held({1})) == ([], {})


def test_a_driver_that_fails_counts_as_none(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\nexit 9\n")
    assert gpus() == []


@pytest.mark.parametrize("unknown", ["[N/A]", "[Insufficient Permissions]", "[Not Supported]"])
def test_a_card_whose_memory_is_not_said_is_a_card(unknown: str, nvidia_smi: Path) -> None:
    nvidia_smi.write_text(
        f"""#!/bin/sh
case "$1" in
  --query-gpu=*) echo "GPU-1, NVIDIA A30, 24576, 20000"; echo "GPU-2, NVIDIA GB10, {unknown}, {unknown}"
    echo "Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost";;
  *) echo "GPU-1, {unknown}, 900"; echo "GPU-1, 1, {unknown}"; echo "GPU-2, 1, 7";;
esac
"""
    )
    assert gpus() == [Gpu("GPU-1", "NVIDIA A30", 24576 * MIB, 20000 * MIB), Gpu("GPU-2", "NVIDIA GB10", 0, 0)]
    assert memory_held({1}) == {"GPU-2": 7 * MIB}


def test_a_driver_that_is_stuck_counts_as_none(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_ANSWER_SECONDS", 0.2)
    nvidia_smi.write_text("#!/bin/sh\nexec sleep 60\n")
    assert (gpus(), memory_held({1})) == ([], {})


def test_hw_fetch_reports_the_engines_memory(
    captioner: SmolVLM2Captioner, broadcast: Broadcast, nvidia_smi: Path
) -> None:
    with_another = nvidia_smi.read_text().replace('15000";;', '15000"; echo "GPU-3, NVIDIA GB10, [N/A], [N/A]";;')
    nvidia_smi.write_text(with_another.replace('"GPU-1, 1, 900"', f'"GPU-3, {os.getpid()}, 900"'))
    answer = json.loads(captioner.annotate(swt_mmif(broadcast, labels=["slate"]), hwFetch=["true"]))
    hardware = answer["views"][-1]["metadata"]["appProfiling"]["hardware"]
    assert hardware["cuda"] == ["NVIDIA A30, 24576 MiB total, 20000 MiB available, 7000 MiB peak used"]
