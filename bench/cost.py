"""
What a caption costs in floating-point operations and bytes, by the model's sizes and the frames' resolution.

A multiplication and an addition are two operations. Counted are the matrix products, which are all but a few percent of
the work: of the vision encoder over every patch, of the language model over every token that it reads, and, for every
step in which it writes, the weights and the key-value cache that have to come from memory (Pope et al. 2022,
"Efficiently scaling transformer inference"). Left out: what is resized, normalised, sampled and scheduled.
"""

from dataclasses import dataclass

from bench.geometry import Geometry, Tower

BYTES = 2  # of a number in bfloat16


@dataclass(frozen=True)
class Limits:
    """
    What a machine can do at best.

    :param flops: of a large matrix product, operations per second
    :param bandwidth: of memory, bytes per second
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Shares:
    """How much of the limits each stage reaches, 0 to 1."""

    encoder: float
    prefill: float
    decode: float


@dataclass(frozen=True)
class Caption:
    """
    What is asked for.

    :param tiles: of all its frames
    :param prompt_tokens: that the language model reads, those of the tiles included
    :param tokens: that it writes
    """

    tiles: float
    prompt_tokens: float
    tokens: float


def encoder_flops(geometry: Geometry) -> float:
    """Return the operations for one tile: the encoder over its patches, and the connector."""
    patches = (geometry.tile // geometry.patch) ** 2
    tower = geometry.vision
    attention = 4 * patches**2 * tower.width * tower.layers
    embedding = 2 * patches * 3 * geometry.patch**2 * tower.width
    connector = 2 * geometry.tokens_per_tile * geometry.scale**2 * tower.width * geometry.text.width
    return 2 * patches * _vision_weights(tower) + attention + embedding + connector


def prefill_flops(geometry: Geometry, tokens: float) -> float:
    """Return the operations for reading a prompt of so many tokens; the head reads the last one only."""
    tower = geometry.text
    attention = 2 * tokens**2 * tower.width * tower.layers  # causal: half of what all pairs would take
    return 2 * tokens * text_weights(geometry) + attention + 2 * geometry.vocabulary * tower.width


def decode_bytes(geometry: Geometry, together: float, context: float) -> float:
    """
    Return the bytes that one step reads, which writes a token for each of the prompts that are computed together.

    :param context: tokens that each has read and written so far
    """
    weights = text_weights(geometry) + geometry.vocabulary * geometry.text.width
    return BYTES * weights + together * context * cache_bytes(geometry)


def cache_bytes(geometry: Geometry) -> int:
    """Return the bytes of the key-value cache that a token takes: a key and a value in each layer."""
    tower = geometry.text
    return BYTES * 2 * tower.layers * (tower.key_value_heads or tower.heads) * (tower.width // tower.heads)


def seconds(geometry: Geometry, caption: Caption, limits: Limits, shares: Shares, together: float) -> float:
    """Return the seconds that a caption takes of a machine that works on ``together`` of them at a time."""
    steps = caption.tokens / together
    context = caption.prompt_tokens + caption.tokens / 2
    return (
        caption.tiles * encoder_flops(geometry) / (limits.flops * shares.encoder)
        + prefill_flops(geometry, caption.prompt_tokens) / (limits.flops * shares.prefill)
        + steps * decode_bytes(geometry, together, context) / (limits.bandwidth * shares.decode)
    )


def text_weights(geometry: Geometry) -> float:
    """Return the language model's weights, without embeddings and head."""
    tower = geometry.text
    key_value = tower.width * (tower.key_value_heads or tower.heads) / tower.heads
    return tower.layers * (2 * tower.width**2 + 2 * tower.width * key_value + 3 * tower.width * tower.inner)


def _vision_weights(tower: Tower) -> float:
    return tower.layers * (4 * tower.width**2 + 2 * tower.width * tower.inner)
