"""The cost model against what torch itself counts, and what it says of an archive."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText

from bench import cost
from bench.geometry import THIN, Geometry, Tower, geometry_of, save_checkpoint
from bench.scenarios.capacity import caption_of, demand
from bench.scenarios.tune import candidates, paste

SMALL = Geometry(64, 8, 4, Tower(64, 2, 2, 128), Tower(64, 3, 4, 96, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("small"), SMALL)


def counted(model: torch.nn.Module, **inputs: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(**inputs)
    return counter.get_total_flops()


def test_the_sizes_of_a_checkpoint_are_read_off_its_configuration(folder: Path) -> None:
    assert geometry_of(folder) == SMALL
    assert THIN.tokens_per_tile == 81  # SmolVLM2-2.2B's


def test_operations_are_those_that_torch_counts(folder: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager")
    text = torch.full((1, 50), 9)
    reading = counted(model, input_ids=text, logits_to_keep=1)
    # torch counts attention over all pairs of tokens; half of them are masked.
    tower = SMALL.text
    masked = 2 * 50**2 * tower.width * tower.layers
    assert cost.prefill_flops(SMALL, 50) + masked == pytest.approx(reading, rel=0.001)
    tiles = 3
    frames = {
        "pixel_values": torch.ones(1, tiles, 3, SMALL.tile, SMALL.tile),
        "pixel_attention_mask": torch.ones(1, tiles, SMALL.tile, SMALL.tile, dtype=torch.bool),
    }
    image = model.config.image_token_id
    with_tiles = torch.cat([torch.full((1, tiles * SMALL.tokens_per_tile), image), text], dim=1)[:, : text.shape[1]]
    encoder = counted(model, input_ids=with_tiles, logits_to_keep=1, **frames) - reading
    assert tiles * cost.encoder_flops(SMALL) == pytest.approx(encoder, rel=0.001)


def test_a_step_reads_the_weights_once_and_the_cache_of_each_prompt(folder: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folder)
    text = model.model.text_model
    weights = (
        sum(matrix.numel() for matrix in text.parameters() if matrix.dim() == 2) - text.embed_tokens.weight.numel()
    )
    head = model.lm_head.weight.numel()
    assert cost.decode_bytes(SMALL, 0, 0) == cost.BYTES * (weights + head)
    a_token = 2 * 3 * 2 * 16 * cost.BYTES  # key and value, layers, heads of them, their width
    assert cost.decode_bytes(SMALL, 5, 100) - cost.decode_bytes(SMALL, 0, 0) == 5 * 100 * a_token


def test_seconds_add_up_and_batches_share_the_weights() -> None:
    limits, full = cost.Limits(1e12, 1e10), cost.Shares(1, 1, 1)
    caption = cost.Caption(tiles=2, prompt_tokens=100, tokens=10)
    alone = cost.seconds(SMALL, caption, limits, full, 1)
    assert alone == pytest.approx(
        (2 * cost.encoder_flops(SMALL) + cost.prefill_flops(SMALL, 100)) / 1e12
        + 10 * cost.decode_bytes(SMALL, 1, 105) / 1e10
    )
    assert cost.seconds(SMALL, caption, limits, full, 8) < alone
    half = cost.Shares(0.5, 0.5, 0.5)
    assert cost.seconds(SMALL, caption, limits, half, 1) == pytest.approx(2 * alone)


def test_an_archive_asks_for_captions_and_decoding() -> None:
    wanted = demand(hours=1000, timeframes_per_hour=60, decode_seconds_per_hour=36)
    assert (wanted.captions, wanted.decode_hours) == (60_000, 10)
    caption = caption_of(SMALL, frames=3, tiles=5, tokens=60)
    assert (caption.tiles, caption.tokens) == (15, 60)
    assert caption.prompt_tokens > 15 * SMALL.tokens_per_tile


def test_what_was_found_can_be_pasted() -> None:
    assert paste({"CAPTIONER_MAX_SEQS": "32", "parallelPrompts": "16"}) == (
        "export CAPTIONER_MAX_SEQS=32\n# and in calls: ?parallelPrompts=16"
    )
    assert "leave them" in paste({})


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_tuning_tries_no_more_threads_than_there_are_cores(cores: int) -> None:
    (threads,) = [values for name, values in candidates(cores) if name == "OMP_NUM_THREADS"]
    assert threads[-1] == str(cores)
    assert len(set(threads)) == len(threads)
