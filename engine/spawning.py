"""Child processes that start clean."""

import contextlib
import signal
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """
    Let processes spawned meanwhile not import this program's main module again.

    The engine's processes need nothing of it; importing it costs them seconds, and Flask's context-bound globals, which
    would come with it, break vLLM's scan of all loaded modules for its kernels.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """
    Let SIGINT not reach processes that this thread spawns meanwhile, nor theirs.

    A terminal sends Ctrl-C to all processes of a command. vLLM would drop its prompts at it, while what it means is for
    the process that the engine belongs to: a backfill lets what is in flight end.
    """
    # multiprocessing unblocks it when it starts its resource tracker, which has to be there before.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
