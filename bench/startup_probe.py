"""
One start of the app, watched: run in a process of its own, it prints when each phase began and ended.

Phases are seconds since the process began; some run beside each other.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

BEGAN = psutil.Process().create_time()
phases: dict[str, tuple[float, float]] = {}


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Time a phase."""
    begin = time.time() - BEGAN
    try:
        yield
    finally:
        phases[name] = (begin, time.time() - BEGAN)


def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is timed as a phase."""

    def timed(*arguments: Any, **named: Any) -> Any:
        with phase(name):
            return function(*arguments, **named)

    return timed


def watch_for_engine_process() -> None:
    """Note when vLLM's process began, which is a moment and takes no time; ends when it has been seen."""
    own = psutil.Process()
    while True:
        for child in own.children(recursive=True):
            try:
                if "spawn_main" in " ".join(child.cmdline()):
                    at = child.create_time() - BEGAN
                    phases["core spawned"] = (at, at)
                    return
            except psutil.Error:
                continue
        time.sleep(0.1)


def main(mmif: str) -> None:
    """Start the app, caption a MMIF, print the phases as JSON."""
    threading.Thread(target=watch_for_engine_process, daemon=True).start()
    phases["interpreter"] = (0, time.time() - BEGAN)
    with phase("app imported"):
        from app import get_app
    import engine.engine
    from engine.answering import Answering
    from engine.generation import Generation

    engine.engine.Engine._load = watched("processor loaded", engine.engine.Engine._load)  # type: ignore[method-assign]
    generation: Any = sys.modules["engine.generation"]
    generation.engine_args = watched("vLLM imported", generation.engine_args)
    Generation.build = watched("engine built", Generation.build)  # type: ignore[method-assign]
    warm_up = Answering.warm_up

    async def watched_warm_up(self: Any, generation: Any) -> None:
        with phase("warmed up"):
            await warm_up(self, generation)

    Answering.warm_up = watched_warm_up  # type: ignore[method-assign]
    captioner = get_app()
    with phase("engine started"):
        captioner.engine.start()
    with phase("first caption"):
        captioned = captioner.annotate(mmif, maxNewTokens=["8"])
    phases["all"] = (0, time.time() - BEGAN)
    assert "TextDocument" in captioned
    captioner.engine.close()
    print(json.dumps(phases))


if __name__ == "__main__":
    main(sys.stdin.read())
