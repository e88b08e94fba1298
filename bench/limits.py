"""This machine's own limits, measured: how fast it multiplies matrices in bfloat16, and how fast it reads memory."""

import statistics
import time

from bench.cost import Limits

ROUNDS = 7
ROWS, WIDTH, INNER = 4096, 2048, 8192  # a product as large as those of an encoder over several tiles
MATRIX_BYTES = 512 * 1024**2  # more than any processor's cache


def limits() -> Limits:
    """Measure both, best of several rounds: a limit is what can be reached, not what is usual."""
    return Limits(max(_products() for _ in range(ROUNDS)), max(_reading() for _ in range(ROUNDS)))


def _products() -> float:
    import torch

    left, right = torch.ones(ROWS, WIDTH, dtype=torch.bfloat16), torch.ones(WIDTH, INNER, dtype=torch.bfloat16)
    began = time.perf_counter()
    torch.matmul(left, right)
    return 2 * ROWS * WIDTH * INNER / (time.perf_counter() - began)


def _reading() -> float:
    import torch

    numbers = torch.ones(MATRIX_BYTES // 4)
    numbers.sum()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        numbers.sum()
        taken.append(time.perf_counter() - began)
    return MATRIX_BYTES / statistics.median(taken)
