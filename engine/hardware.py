"""What nvidia-smi knows; unlike torch it makes no CUDA context in this process."""

import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

MIB = 1024**2


@dataclass(frozen=True)
class Gpu:
    """
    One NVIDIA GPU.

    :param uuid: its identity in the driver
    :param total: bytes of its memory
    :param free: bytes that nobody holds now
    """

    uuid: str
    name: str
    total: int
    free: int


def gpus() -> list[Gpu]:
    """Return the NVIDIA GPUs of this machine, none without a driver."""
    rows = _nvidia_smi("--query-gpu=uuid,name,memory.total,memory.free")
    return [Gpu(uuid, name, int(total) * MIB, int(free) * MIB) for uuid, name, total, free in rows]


def memory_held(pids: Collection[int]) -> dict[str, int]:
    """Return the bytes that the processes ``pids`` hold together, by the GPU's uuid."""
    held: dict[str, int] = {}
    for uuid, pid, used in _nvidia_smi("--query-compute-apps=gpu_uuid,pid,used_memory"):
        if int(pid) in pids and used.isdigit():  # "[N/A]" in some containers
            held[uuid] = held.get(uuid, 0) + int(used) * MIB
    return held


def _nvidia_smi(query: str) -> list[list[str]]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if answer.returncode != 0:
        return []
    return [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]
