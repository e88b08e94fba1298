"""Run by the Python of ``.venv``: do the engine's imports work?

With module names as arguments, prints those that fail to import *without* the repair of ``torchvision_cpu_ops``, so
that a set-up that is run again comes to the same findings. Without arguments, imports all the app leans on, or fails.
"""

import ctypes
import importlib
import sys
from pathlib import Path


def broken(names: list[str]) -> list[str]:
    """Those of `names` whose import fails here. An import of compiled code may fail with any exception."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if _module_of(finder) != "torchvision_cpu_ops"]
    found = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            found.append(name)
    return found


def _module_of(finder: object) -> str:
    return getattr(finder, "__module__", "")


def import_everything() -> None:
    """Import what the app, its engine and SmolVLM2's processor need, the way they do."""
    import av  # noqa: F401
    import clams  # noqa: F401
    import cv2  # noqa: F401
    import torchvision.transforms.v2  # noqa: F401
    from mmif.utils import video_document_helper  # noqa: F401
    from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor  # noqa: F401
    from vllm import AsyncEngineArgs, SamplingParams  # noqa: F401
    from vllm.v1.engine.async_llm import AsyncLLM  # noqa: F401

    load_kernels()


def load_kernels() -> None:
    """Load vLLM's compiled half for CPU. vLLM itself only warns where it can't, and stops much later.

    :raises OSError: naming the shared library that is missing
    """
    import torch
    import vllm
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        current_platform.import_kernels()
        if not hasattr(torch.ops._C, "init_cpu_memory_env"):
            ctypes.CDLL(str(min(Path(vllm.__path__[0]).glob("_C*.so"))))


if __name__ == "__main__":
    if sys.argv[1:]:
        print("\n".join(broken(sys.argv[1:])))
    else:
        import_everything()
