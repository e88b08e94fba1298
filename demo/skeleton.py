"""The demo model before training: tokenizer, processor, configuration, and seeded random weights."""

import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from demo.cards import COLOURS, KINDS
from demo.texts import tokenizer_corpus

TILE = 64  # px, the edge of what the vision encoder sees at once
LONGEST_EDGE = 128  # px, default: a 4:3 or 16:9 frame becomes 2 x 2 tiles and the whole
PATCH = 8  # px
SHUFFLE = 4  # patches merged along each axis
TOKENS_PER_TILE = (TILE // PATCH // SHUFFLE) ** 2
VOCABULARY = 768
CONTEXT = 2048  # tokens
MAX_VIDEO_FRAMES = 12

SPECIAL = {
    "unk_token": "<|endoftext|>",
    "bos_token": "<|im_start|>",
    "pad_token": "<|im_end|>",
    "eos_token": "<end_of_utterance>",
}
EXTRA_SPECIAL = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "end_of_utterance_token": "<end_of_utterance>",
    "global_image_token": "<global-img>",
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of `VOCABULARY` tokens: digits alone, kinds and colours whole, SmolVLM2's special tokens."""
    special = [*SPECIAL.values(), "<fake_token_around_image>", "<image>", "<global-img>"]
    special += [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    corpus = tokenizer_corpus() + [f" {word};" for word in (*KINDS, *COLOURS)] * 2000
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=EXTRA_SPECIAL,
        padding_side="left",
        **SPECIAL,
    )
    for word in (*KINDS, *COLOURS):
        assert len(tokenizer.encode(f" {word}")) == 1, f"{word} is not one token"
    return tokenizer


def build_processor(tokenizer: PreTrainedTokenizerFast) -> SmolVLMProcessor:
    """SmolVLM's own processor at the demo model's geometry (see `TILE`, `LONGEST_EDGE`)."""
    half = [0.5, 0.5, 0.5]
    image = SmolVLMImageProcessor(
        size={"longest_edge": LONGEST_EDGE}, max_image_size={"longest_edge": TILE}, image_mean=half, image_std=half
    )
    video = SmolVLMVideoProcessor(
        size={"longest_edge": TILE},
        max_image_size={"longest_edge": TILE},
        image_mean=half,
        image_std=half,
        video_sampling={"fps": 1, "max_frames": MAX_VIDEO_FRAMES, "video_size": {"longest_edge": TILE}},
    )
    return SmolVLMProcessor(image, tokenizer, video, image_seq_len=TOKENS_PER_TILE, chat_template=DEFAULT_CHAT_TEMPLATE)


def build_config(tokenizer: PreTrainedTokenizerFast) -> SmolVLMConfig:
    """SmolVLM's configuration at the demo model's size: about 1.5 M parameters."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return SmolVLMConfig(
        architectures=["SmolVLMForConditionalGeneration"],
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=SHUFFLE,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        vision_config={
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "image_size": TILE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 32,
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
            "tie_word_embeddings": False,
            **ids,
        },
    )


def build_model(config: SmolVLMConfig, seed: int) -> SmolVLMForConditionalGeneration:
    """Random weights, N(0, 1 / fan-in); what is added to the residual stream is scaled down by sqrt(2 x layers)."""
    torch.manual_seed(seed)
    model = SmolVLMForConditionalGeneration(config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                continue
            if ("embedding" in name and "patch" not in name) or "embed_tokens" in name:
                parameter.normal_(0, 0.3 if "position" in name else 0.5)
                continue
            std = 1 / math.sqrt(parameter[0].numel())
            if any(part in name for part in ("o_proj", "down_proj", "out_proj", "fc2")):
                layers = config.text_config if "text_model" in name else config.vision_config
                std /= math.sqrt(2 * layers.num_hidden_layers)
            parameter.normal_(0, std)
    return model


def save(model: SmolVLMForConditionalGeneration, processor: SmolVLMProcessor, folder: Path) -> None:
    """Writes everything that transformers and vLLM need to load the model, weights in bfloat16 (2 bytes each)."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = processor.tokenizer
    config = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    half = SmolVLMForConditionalGeneration(config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    half.generation_config = model.generation_config
    half.save_pretrained(folder)
    processor.save_pretrained(folder)
    # save_pretrained folds the image processor into processor_config.json; older loaders look for it by itself.
    processor.image_processor.save_pretrained(folder)
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text())
    settings["image_seq_len"] = TOKENS_PER_TILE
    path.write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "model.safetensors").chmod(0o644)  # written for its owner alone


def main() -> None:
    """Writes the untrained model to the folder named on the command line."""
    import sys

    tokenizer = build_tokenizer()
    save(build_model(build_config(tokenizer), seed=0), build_processor(tokenizer), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
