"""Frames as the model's vision encoder sees them: drawn, worn by an imitation of video coding, cut into tiles."""

import io
import random
from dataclasses import dataclass

import torch
from PIL import Image, ImageEnhance, ImageFilter
from transformers import SmolVLMImageProcessor

from demo.cards import COLOURS, DIGITS, KINDS, Card, Jitter, draw_card
from demo.skeleton import LONGEST_EDGE, TILE

# Half the size of 640x480, 640x360 and 720x576: what is left at 64 px is the same, and drawing takes half the time.
SIZES = ((320, 240), (320, 180), (360, 288))
TILES_WHEN_SPLIT = 5  # 2 x 2 and the whole


@dataclass
class FramePool:
    """Frames to train on; pixels are uint8, red green blue."""

    cards: list[Card]
    single: torch.Tensor  # (n, 3, TILE, TILE): each frame as one tile
    split: torch.Tensor  # (m, TILES_WHEN_SPLIT, 3, TILE, TILE): the first m frames, the whole last

    def targets(self) -> torch.Tensor:
        """(n, DIGITS + 2) class numbers: the digits, the kind, the colour."""
        colours = list(COLOURS)
        return torch.tensor(
            [
                [*map(int, f"{card.second:0{DIGITS}d}"), KINDS.index(card.kind), colours.index(card.colour)]
                for card in self.cards
            ]
        )


def random_card(rng: random.Random) -> Card:
    """Any kind and colour; half the time any second, else one of the first 200 or the first 1000."""
    limit = rng.choice((10**DIGITS, 10**DIGITS, 1000, 200))
    return Card(rng.choice(KINDS), rng.choice(list(COLOURS)), rng.randrange(limit))


def random_cards(rng: random.Random, count: int) -> list[Card]:
    """Runs of 1 to 8 frames as a segment gives them: one kind and colour, seconds a few apart."""
    cards: list[Card] = []
    while len(cards) < count:
        card, step = random_card(rng), rng.choice((0, 1, 1, 1, 2, 3, 10))
        for i in range(rng.choice((1, 1, 2, 3, 4, 8))):
            cards.append(Card(card.kind, card.colour, (card.second + i * step) % 10**DIGITS))
    return cards[:count]


def wear(image: Image.Image, rng: random.Random) -> Image.Image:
    """What video coding does to a frame, roughly: block quantisation with halved colour, softness, levels."""
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 1.5)))
    if rng.random() < 0.3:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.92, 1.06))
    if rng.random() < 0.3:
        image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.85, 1.05))
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(20, 90))
        image = Image.open(buffer).convert("RGB")
    return image


def tiles(images: list[Image.Image], processor: SmolVLMImageProcessor, longest_edge: int) -> torch.Tensor:
    """The processor's tiles of frames of one size: uint8 (frames, tiles, 3, TILE, TILE)."""
    pixels = processor([[image] for image in images], size={"longest_edge": longest_edge}, return_tensors="pt")
    return ((pixels["pixel_values"] * 0.5 + 0.5) * 255).round_().clamp_(0, 255).to(torch.uint8)


def make_pool(processor: SmolVLMImageProcessor, count: int, split: int, seed: int) -> FramePool:
    """Draws `count` frames, the first `split` of them also split. Deterministic by seed; about 4 ms a frame."""
    rng = random.Random(seed)
    cards = random_cards(rng, count)
    single: list[torch.Tensor] = []
    whole: list[torch.Tensor] = []
    for start in range(0, count, 64):
        size = rng.choice(SIZES)
        images = []
        for card in cards[start : start + 64]:
            amount = rng.choice((0.0, 0.0, 0.5, 1.0))
            images.append(wear(draw_card(card, size, Jitter.random(rng, amount)), rng))
        single.append(tiles(images, processor, TILE)[:, 0])
        if start < split:
            whole.append(tiles(images, processor, LONGEST_EDGE))
    return FramePool(cards, torch.cat(single), torch.cat(whole)[:split])


def to_model(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to what the processor hands the model: float32, -1 to 1."""
    return pixels.float().mul_(2 / 255).sub_(1)


def shake(pixels: torch.Tensor, generator: torch.Generator, amount: float = 1.0) -> torch.Tensor:
    """Moves each tile of a batch (b, 3, TILE, TILE) by up to 2 px, shifts its levels, adds noise."""
    batch = pixels.shape[0]
    span = round(2 * amount)
    if span:
        padded = torch.nn.functional.pad(pixels, (span, span, span, span), mode="replicate")
        dx, dy = torch.randint(0, 2 * span + 1, (2,), generator=generator).tolist()
        half = batch // 2  # two different moves a batch are variety enough
        ex, ey = torch.randint(0, 2 * span + 1, (2,), generator=generator).tolist()
        pixels = torch.cat(
            (padded[:half, :, dy : dy + TILE, dx : dx + TILE], padded[half:, :, ey : ey + TILE, ex : ex + TILE])
        )
    gain = 1 + 0.1 * amount * (torch.rand(batch, 1, 1, 1, generator=generator) - 0.5)
    offset = 0.1 * amount * (torch.rand(batch, 1, 1, 1, generator=generator) - 0.5)
    level = 0.06 * amount * torch.rand(batch, 1, 1, 1, generator=generator)
    return pixels * gain + offset + level * torch.randn(pixels.shape, generator=generator)
