"""The models that are measured: by the names of the app, or random weights of a real checkpoint's sizes."""

from pathlib import Path

from bench.geometry import GEOMETRIES, checkpoint, geometry_of
from bench.workloads import FOLDER

LARGE = 1024  # width of a language model whose cache takes 192 KiB a token, not 23
HELP = f"demo, random weights of the sizes of SmolVLM2 ({', '.join(GEOMETRIES)}), or a folder with a checkpoint"


def model_folder(name: str) -> Path:
    """
    Return the folder of a model's files; random weights are made if they aren't there.

    :raises SettingsError: if there is no such model
    """
    from engine.model import fetch
    from models import choose

    return checkpoint(name, FOLDER / "models") if name in GEOMETRIES else fetch(choose(name))


def kv_cache_gib(folder: Path) -> str:
    """Return the cache that 32 prompts of a few frames need, as a setting; several engines share this machine."""
    return "0.5" if geometry_of(folder).text.width < LARGE else "6"


def tile_edge(folder: Path) -> int:
    """Return the longest edge, in px, at which a frame is one tile."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    return int(processor.image_processor.max_image_size["longest_edge"])
