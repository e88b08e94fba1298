"""This machine's own limits, measured: how fast it multiplies matrices in bfloat16, and how fast it reads memory."""

import time
from collections.abc import Callable

from bench.cost import Limits
from bench.machine import compute_device, wait_for

ROUNDS = 7
ROWS, WIDTH, INNER = 4096, 2048, 8192  # a product as large as those of an encoder over several tiles
MATRIX_BYTES = 512 * 1024**2  # more than any processor's cache
ON_GPU = 20  # times in a row there, since each takes less than a millisecond, and asking for it a part of that


def limits(device: str = "") -> Limits:
    """
    Measure both, best of several rounds: a limit is what can be reached, not what is usual.

    :param device: whose they are, as torch calls it; by default the one that computes the model
    """
    device = device or compute_device()
    times = ON_GPU if device == "cuda" else 1
    multiply, read = _product(device), _reading(device)
    return Limits(
        2 * ROWS * WIDTH * INNER / _least_seconds(multiply, device, times),
        MATRIX_BYTES / _least_seconds(read, device, times),
    )


def _least_seconds(do: Callable[[], object], device: str, times: int) -> float:
    """Return the seconds that something takes at best, done so many times in a row; the first time does not count."""
    do()
    taken = []
    for _ in range(ROUNDS):
        wait_for(device)
        began = time.perf_counter()
        for _ in range(times):
            do()
        wait_for(device)
        taken.append((time.perf_counter() - began) / times)
    return min(taken)


def _product(device: str) -> Callable[[], object]:
    import torch

    left = torch.ones(ROWS, WIDTH, dtype=torch.bfloat16, device=device)
    right = torch.ones(WIDTH, INNER, dtype=torch.bfloat16, device=device)
    return lambda: torch.matmul(left, right)


def _reading(device: str) -> Callable[[], object]:
    import torch

    numbers = torch.ones(MATRIX_BYTES // 4, device=device)
    return lambda: numbers.sum()
