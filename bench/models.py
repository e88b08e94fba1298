"""The models that are measured: by the names of the app, or random weights of a real checkpoint's sizes."""

from pathlib import Path

from bench.geometry import GEOMETRIES, checkpoint
from bench.workloads import FOLDER

HELP = f"demo, random weights of the sizes of SmolVLM2 ({', '.join(GEOMETRIES)}), or a folder with a checkpoint"


def model_folder(name: str) -> Path:
    """
    Return the folder of a model's files; random weights are made if they aren't there.

    :raises SettingsError: if there is no such model
    """
    from engine.model import fetch
    from models import choose

    return checkpoint(name, FOLDER / "models") if name in GEOMETRIES else fetch(choose(name))


def tile_edge(folder: Path) -> int:
    """Return the longest edge, in px, at which a frame is one tile."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    return int(processor.image_processor.max_image_size["longest_edge"])
