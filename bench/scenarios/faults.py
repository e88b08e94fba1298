"""The engine is killed in the middle of a call: the time to recover, and whether a caption is lost."""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rich.table import Table

from bench.contenders.http import call, captions
from bench.models import add_model_option, kv_cache_gib, model_folder
from bench.workloads import broadcast

if TYPE_CHECKING:
    from bench.run import Run
    from bench.server import Server

PATIENCE = 600.0  # seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser)
    parser.add_argument("--prompts", type=int, default=200, help="of the call [default: 200]")
    parser.add_argument("--rounds", type=int, default=3, help="kills [default: 3]")


def measure(run: "Run") -> None:
    """Kill the engine's process while it works, and wait for the call's captions."""
    if run.quick:
        run.options.prompts, run.options.rounds = 60, 1
    run.settings |= {"model": run.options.model, "prompts": run.options.prompts}
    folder = model_folder(run.options.model)
    server = run.engines.server(model=str(folder), kv_cache_gib=kv_cache_gib(folder))
    mmif = broadcast(run.options.prompts, 0, quick=run.quick).mmif().encode()
    undisturbed = captions(call(server.url, mmif, parallelPrompts=8))
    noticed, recovered, wrong = [], [], []
    for _ in run.steps(range(run.options.rounds), "kills"):
        with ThreadPoolExecutor(1) as caller:
            future = caller.submit(call, server.url, mmif, parallelPrompts=8)
            time.sleep(0.5)  # into the middle of the call, which takes seconds
            began = _kill_engine(server)
            _wait(server, ready=False)
            noticed.append(time.perf_counter() - began)
            _wait(server, ready=True)
            recovered.append(time.perf_counter() - began)
            found = captions(future.result())
        wrong.append(sum(one != other for one, other in zip(found, undisturbed)) + abs(len(found) - len(undisturbed)))
    run.record("noticed", noticed, "s", "less")
    run.record("recovered", recovered, "s", "less")
    run.record("captions_that_differ", wrong, "captions", "less")
    table = Table(title=f"SIGKILL to the engine during a call of {run.options.prompts} prompts ({run.options.model})")
    for column in ("noticed after, s", "answers again after, s", "captions lost or other than undisturbed"):
        table.add_column(column, justify="right")
    for row in zip(noticed, recovered, wrong):
        table.add_row(f"{row[0]:.2f}", f"{row[1]:.1f}", str(row[2]))
    run.show(table)


def _kill_engine(server: "Server") -> float:
    engines = [process for process in server.worker.children() if "EngineCore" in process.name()]
    if not engines:
        raise RuntimeError("The server has no engine process to kill.")
    for process in engines:
        process.kill()
    return time.perf_counter()


def _wait(server: "Server", *, ready: bool) -> None:
    until = time.monotonic() + PATIENCE
    while server.is_ready != ready:
        if time.monotonic() > until:
            raise RuntimeError(f"The server was not {'' if ready else 'un'}ready within {PATIENCE:.0f} s.")
        time.sleep(0.02)
