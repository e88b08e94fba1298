"""
Malformed requests: is each answered, is every error explained, and does the server caption correctly afterwards?

Bodies, parameters, headers, addresses and HTTP itself are made wrong, from a seed, and sent by several clients at once.
In between and at the end the server has to caption one segment as it should. Anything else is printed with the number
that makes the request again (--first NUMBER --cases 1), and the scenario fails.
"""

import argparse
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from bench.run import Run

SEED = 1
CASES = 10_000
QUICK_CASES = 40
CLIENTS = 8
BETWEEN = 250  # cases from one look at the server's health to the next


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the scenario's options."""
    parser.add_argument("--cases", type=int, default=0, help=f"[default: {CASES}, or {QUICK_CASES} if quick]")
    parser.add_argument("--first", type=int, default=0, help="number of the first [default: 0]")
    parser.add_argument("--seed", type=int, default=SEED, help=f"[default: {SEED}]")


def measure(run: "Run") -> None:
    """
    Send them.

    :raises RuntimeError: if an answer is not as it should be
    """
    from bench.fuzzing.attack import Attack

    options = run.options
    count = options.cases or (QUICK_CASES if run.quick else CASES)
    run.settings.update(seed=options.seed, first=options.first, cases=count, clients=CLIENTS)
    with tempfile.TemporaryDirectory() as name, run.engines.own_server(Path(name) / "log", quick=run.quick) as server:
        attack = Attack(server.url, Path(name), options.seed)
        numbers = range(options.first, options.first + count)
        with ThreadPoolExecutor(CLIENTS) as clients:
            for start in run.steps(range(0, count, BETWEEN), "malformed requests"):
                list(clients.map(attack.send, numbers[start : start + BETWEEN]))
                attack.check_health()
    run.record("cases", count, "requests")
    run.record("complaints", len(attack.complaints), "requests", "less")
    run.show(_table(attack.answers))
    if attack.complaints:
        shown = "\n".join(attack.complaints[:20])
        raise RuntimeError(f"{len(attack.complaints)} answers are not as they should be:\n{shown}")


def _table(answers: Counter[tuple[str, int]]) -> Table:
    statuses = sorted({status for _, status in answers})
    table = Table(title="answers by status; 0: the server hung up on what is no HTTP", show_lines=False)
    for column in ("what was wrong", *map(str, statuses)):
        table.add_column(column, justify="right")
    for kind in sorted({kind for kind, _ in answers}):
        table.add_row(kind, *(str(answers[kind, status] or "") for status in statuses))
    return table
