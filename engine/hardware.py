"""What nvidia-smi knows; unlike torch it makes no CUDA context in this process."""

import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

MIB = 1024**2
_ANSWER_SECONDS = 20  # a driver that is stuck lets nvidia-smi wait for ever


@dataclass(frozen=True)
class Gpu:
    """
    One NVIDIA GPU.

    :param uuid: its identity in the driver
    :param total: bytes of its memory; 0, as is ``free``, where the driver does not say: "[N/A]" of a chip that shares
        the host's memory, "[Insufficient Permissions]" of a part of a card
    :param free: bytes that nobody holds now
    """

    uuid: str
    name: str
    total: int
    free: int


def gpus() -> list[Gpu]:
    """Return the NVIDIA GPUs of this machine, none without a driver."""
    rows = _nvidia_smi("--query-gpu=uuid,name,memory.total,memory.free")
    return [Gpu(uuid, name, *_memory(total, free)) for uuid, name, total, free in rows]


def memory_held(pids: Collection[int]) -> dict[str, int]:
    """Return the bytes that the processes ``pids`` hold together, by the GPU's uuid."""
    held: dict[str, int] = {}
    for uuid, pid, used in _nvidia_smi("--query-compute-apps=gpu_uuid,pid,used_memory"):
        if pid.isdigit() and int(pid) in pids and used.isdigit():  # "[N/A]" in some containers
            held[uuid] = held.get(uuid, 0) + int(used) * MIB
    return held


def _memory(total: str, free: str) -> tuple[int, int]:
    return (int(total) * MIB, int(free) * MIB) if total.isdigit() and free.isdigit() else (0, 0)


def _nvidia_smi(query: str) -> list[list[str]]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode != 0:
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
    return [row for row in rows if len(row) == query.count(",") + 1]  # others are words about a card that is lost
