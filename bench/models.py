"""The models that are measured: by the names of the app, or random weights of a real checkpoint's sizes."""

import argparse
import os
from pathlib import Path

from bench.geometry import GEOMETRIES, checkpoint, geometry_of
from bench.workloads import FOLDER

# By the width of the language model, in GiB: that of 2.2B takes 192 KiB a token, of 256M 23 KiB, of the demo 2.5 KiB.
CACHES = ((1024, "6"), (256, "0.5"), (0, "0.05"))
_MODELS = f"demo, random weights of the sizes of SmolVLM2 ({', '.join(GEOMETRIES)}), or a folder with a checkpoint"


def add_model_option(parser: argparse.ArgumentParser, default: str = "demo", words: str = "") -> None:
    """Let the model be chosen; ``words`` say what the default is, where its name does not."""
    parser.add_argument("--model", default=default, help=f"{_MODELS} [default: {words or default}]")


def add_dtype_option(parser: argparse.ArgumentParser) -> None:
    """Let the number type be chosen."""
    parser.add_argument("--dtype", default="bfloat16", help="number type of the weights [default: bfloat16]")


def add_resolution_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Let the resolution of frames be chosen: as the app does it, or at which each is one tile and costs least."""
    words = f"of frames: the app's default, or one tile each [default: {default}]"
    parser.add_argument("--resolution", choices=("tile", "default"), default=default, help=words)


def longest_edge(folder: Path, resolution: str) -> int:
    """Return what `longestEdge` says of a resolution, in px; 0 is the model's own."""
    return tile_edge(folder) if resolution == "tile" else 0


def model_folder(name: str) -> Path:
    """
    Return the folder of a model's files; random weights are made if they aren't there.

    :raises SettingsError: if there is no such model
    """
    from engine.model import fetch
    from models import choose

    return checkpoint(name, FOLDER / "models") if name in GEOMETRIES else fetch(choose(name))


def kv_cache_gib(folder: Path) -> str:
    """
    Return the cache that 32 prompts of a few frames need, as a setting, and not much more.

    Several engines share this machine; and where the server reads the same frames again after some rounds, their
    prompts must have left the cache by then. Where the operator has chosen a size (``CAPTIONER_KV_CACHE_GIB``), it is
    that: all that are loaded at once may not fit on his card otherwise.
    """
    if chosen := os.environ.get("CAPTIONER_KV_CACHE_GIB"):
        return chosen
    width = geometry_of(folder).text.width
    return next(size for least, size in CACHES if width >= least)


def tile_edge(folder: Path) -> int:
    """Return the longest edge, in px, at which a frame is one tile."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    return int(processor.image_processor.max_image_size["longest_edge"])
