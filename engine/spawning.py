"""Child processes that start clean."""

import contextlib
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
