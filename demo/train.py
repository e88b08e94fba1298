"""Trains the demo model from a seed on one CPU core: `python -m demo.train [FOLDER] [--seed 0]`.

1. The vision encoder and the connector alone: a throwaway linear head reads digits, kind and colour.
2. The language model on the vision encoder's fixed features: one frame a prompt at first, then up to three, then any
   number; short questions at first, then every form of prompt.
3. Everything together on pixels, at a low rate.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import SmolVLMForConditionalGeneration, SmolVLMProcessor

from demo import evaluate
from demo.cards import COLOURS, DIGITS, KINDS, draw_card
from demo.conversations import Imagination, Layout, Writer, image_string, pieces
from demo.model_card import model_card
from demo.pixels import TILES_WHEN_SPLIT, FramePool, make_pool, random_card, shake, to_model
from demo.skeleton import (
    CONTEXT,
    LONGEST_EDGE,
    PATCH,
    SHUFFLE,
    TILE,
    TOKENS_PER_TILE,
    VOCABULARY,
    build_config,
    build_model,
    build_processor,
    build_tokenizer,
    save,
)
from demo.texts import NO_IMAGE_ANSWER
from demo.trunk import MAX_FRAMES, Aids, Batch, collate, features, run

FOLDER = Path(__file__).resolve().parent / "model"
CLASSES = [10] * DIGITS + [len(KINDS), len(COLOURS)]
LESSONS = {1: (0.7, 3), 3: (0.4, MAX_FRAMES)}  # frames a prompt: the share answered exactly, and how many come next
STARTED = time.monotonic()


@dataclass(frozen=True)
class Plan:
    """How long each stage is. Steps, not seconds: the same seed gives the same model on the same machine."""

    frames: int = 20000
    split_frames: int = 5000
    vision_steps: int = 1100
    text_steps: int = 2600
    joint_steps: int = 400
    tokens: int = 5000  # of a batch, padding included


def say(text: str) -> None:
    """One line of progress, with minutes since the start."""
    print(f"{(time.monotonic() - STARTED) / 60:5.1f} min  {text}", flush=True)


def optimiser(modules: list[nn.Module], rate: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def step(optimizer: torch.optim.AdamW, loss: torch.Tensor, rate: float) -> None:
    """One clipped update at a given rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()


def schedule(done: float, warm: float = 0.04, hold: float = 0.5) -> float:
    """The share of the full rate after a share of the stage: a short rise, a plateau, half a cosine down to 2 %."""
    if done < warm:
        return done / warm + 1e-3
    if done < hold:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (done - hold) / (1 - hold)))


def train_vision(model: SmolVLMForConditionalGeneration, pool: FramePool, plan: Plan, seed: int) -> None:
    """Stage 1."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(model.config.text_config.hidden_size, sum(CLASSES))
    optimizer = optimiser([model.model.vision_model, model.model.connector, head], 0)
    targets, weights = pool.targets(), [3.0] * DIGITS + [1.0, 1.0]
    right, batch = 0.0, 128
    for number in range(plan.vision_steps):
        done = number / plan.vision_steps
        chosen = torch.randint(0, len(pool.cards), (batch * 3 // 4,), generator=generator)
        whole = torch.randint(0, len(pool.split), (batch // 4,), generator=generator)
        pixels = torch.cat((pool.single[chosen], pool.split[whole, -1]))
        target = targets[torch.cat((chosen, whole))]
        order = torch.randperm(batch, generator=generator)
        pixels, target = shake(to_model(pixels[order]), generator, min(1.0, 3 * done)), target[order]
        logits = head(features(model, pixels).mean(1)).split(CLASSES, dim=1)
        loss = sum(
            weight * F.cross_entropy(part, target[:, i])
            for i, (part, weight) in enumerate(zip(logits, weights, strict=True))
        ) / sum(weights)
        step(optimizer, loss, 2e-3 * schedule(done))
        exact = torch.stack([part.argmax(1) == target[:, i] for i, part in enumerate(logits)]).all(0).float().mean()
        right += 0.05 * (float(exact) - right)
        if number % 100 == 99:
            say(f"vision {number + 1}: loss {loss.item():.3f}, exact {right:.3f}")


@torch.no_grad()
def cache(model: SmolVLMForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Features of many tiles (n, 3, TILE, TILE), without gradient."""
    return torch.cat([features(model, to_model(part)) for part in pixels.split(256)])


@dataclass
class Curriculum:
    """How many frames a prompt may have now, and how well that number is answered."""

    most: int = 1
    rate: float = 0.0

    def draw(self, rng: random.Random) -> int:
        """Any number allowed now."""
        return rng.randint(1, self.most)

    def learn(self, counts: list[int], exact: torch.Tensor) -> None:
        """Counts the conversations of the present size, and allows more frames when they go well."""
        for count, right in zip(counts, exact.tolist(), strict=True):
            if count == self.most:
                self.rate += 0.02 * (right - self.rate)
        if self.most in LESSONS and self.rate > LESSONS[self.most][0]:
            self.most, self.rate = LESSONS[self.most][1], 0.0


@dataclass
class Drawn:
    """Conversations of about one length with the frames they are about."""

    layouts: list[Layout]
    frames: list[list[int]]
    split: list[bool]

    @property
    def counts(self) -> list[int]:
        """Frames per conversation."""
        return [len(frames) for frames in self.frames]


class Source:
    """An endless supply of batches drawn from a pool of frames."""

    def __init__(self, pool: FramePool, writer: Writer, plan: Plan, seed: int) -> None:
        self.pool, self.writer, self.plan = pool, writer, plan
        self.rng = random.Random(seed)
        self.imagination = Imagination(seed + 1)
        self.curriculum = Curriculum()
        self.plain = 1.0  # the share of conversations that are one short question
        self.words = 40

    def _frames(self, count: int, limit: int) -> list[int]:
        if self.rng.random() < 0.5:  # neighbours in the pool come from one segment
            start = self.rng.randrange(limit - count + 1)
            return list(range(start, start + count))
        return [self.rng.randrange(limit) for _ in range(count)]

    def _draw(self, conversations: int) -> Drawn:
        drawn = Drawn([], [], [])
        for _ in range(conversations):
            plain = self.rng.random() < self.plain
            split = self.rng.random() < (0.2 if plain else 0.4)
            count = self.curriculum.draw(self.rng)
            if self.rng.random() < 0.03:
                count = 0
            frames = self._frames(count, len(self.pool.split) if split else len(self.pool.cards))
            cards = [self.pool.cards[i] for i in frames]
            if plain and cards:
                conversation = self.imagination.short(cards)
            else:
                conversation = self.imagination.anything(cards, self.words)
            drawn.layouts.append(self.writer.layout(conversation, split))
            drawn.frames.append(frames)
            drawn.split.append(split)
        return drawn

    def batches(self) -> Iterator[Drawn]:
        """Draws a few hundred conversations at a time, sorts them by length, and cuts them by `plan.tokens`."""
        while True:
            drawn = self._draw(256)
            order = sorted(range(256), key=lambda i: len(drawn.layouts[i].ids))
            groups: list[list[int]] = [[]]
            for i in order:
                if groups[-1] and (len(groups[-1]) + 1) * len(drawn.layouts[i].ids) > self.plan.tokens:
                    groups.append([])
                groups[-1].append(i)
            self.rng.shuffle(groups)
            for group in groups:
                yield Drawn(
                    [drawn.layouts[i] for i in group], [drawn.frames[i] for i in group], [drawn.split[i] for i in group]
                )


def train_text(model: SmolVLMForConditionalGeneration, source: Source, aids: Aids, plan: Plan) -> None:
    """Stage 2."""
    pool = source.pool
    single = cache(model, pool.single)
    split = cache(model, pool.split.flatten(0, 1)).unflatten(0, (-1, TILES_WHEN_SPLIT))
    say(f"features of {len(single)} frames, spread {single.std():.2f}")
    optimizer = optimiser([model.model.text_model, model.lm_head, aids], 0)
    pad = model.config.pad_token_id
    right = loss_mean = choosing = 0.0
    batches = source.batches()
    for number in range(plan.text_steps):
        done = number / plan.text_steps
        source.plain = 1.0 if source.curriculum.most < 4 else max(0.1, 0.7 - done)
        source.words = int(40 + 150 * min(1.0, 1.6 * done))
        drawn = next(batches)
        parts = [
            (split if s else single)[f].flatten(0, -2) for f, s in zip(drawn.frames, drawn.split, strict=True) if f
        ]
        images = torch.cat(parts) if parts else torch.empty(0)
        outcome = run(model, collate(drawn.layouts, images, pad), aids, 0.5 if done < 0.7 else 0.1)
        step(optimizer, outcome.loss, 2e-3 * schedule(done, warm=0.02))
        source.curriculum.learn(drawn.counts, outcome.exact)
        right += 0.02 * (float(outcome.exact.float().mean()) - right)
        loss_mean += 0.02 * (outcome.loss.item() - loss_mean)
        choosing += 0.02 * (outcome.choosing - choosing)
        if number % 50 == 49:
            say(
                f"text {number + 1}: loss {loss_mean:.3f}, exact {right:.3f}, choosing {choosing:.2f}, "
                f"frames {source.curriculum.most} ({source.curriculum.rate:.2f})"
            )


def joint_images(
    model: SmolVLMForConditionalGeneration, pool: FramePool, drawn: Drawn, generator: torch.Generator
) -> torch.Tensor:
    """Features of a batch's frames from moved and noisy pixels; the four parts of split frames pass no gradient."""
    whole = [pool.split[f, -1] if s else pool.single[f] for f, s in zip(drawn.frames, drawn.split, strict=True) if f]
    if not whole:
        return torch.empty(0)
    main = features(model, shake(to_model(torch.cat(whole)), generator))
    parts = [pool.split[f, :-1].flatten(0, 1) for f, s in zip(drawn.frames, drawn.split, strict=True) if f and s]
    rest = cache(model, torch.cat(parts)).unflatten(0, (-1, TILES_WHEN_SPLIT - 1)) if parts else main
    out, at, rest_at = [], 0, 0
    for frames, split in zip(drawn.frames, drawn.split, strict=True):
        mine = main[at : at + len(frames)]
        at += len(frames)
        if split:
            mine = torch.cat((rest[rest_at : rest_at + len(frames)], mine[:, None]), dim=1)
            rest_at += len(frames)
        out.append(mine.flatten(0, -2))
    return torch.cat(out)


def train_together(model: SmolVLMForConditionalGeneration, source: Source, aids: Aids, plan: Plan, seed: int) -> None:
    """Stage 3."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = optimiser([model, aids], 0)
    source.plain, source.words, source.curriculum.most = 0.15, 190, MAX_FRAMES
    right = loss_mean = 0.0
    batches = source.batches()
    for number in range(plan.joint_steps):
        drawn = next(batches)
        images = joint_images(model, source.pool, drawn, generator)
        batch: Batch = collate(drawn.layouts, images, model.config.pad_token_id)
        outcome = run(model, batch, aids, 0.1)
        step(optimizer, outcome.loss, 5e-4 * schedule(number / plan.joint_steps, hold=0.2))
        right += 0.05 * (float(outcome.exact.float().mean()) - right)
        loss_mean += 0.05 * (outcome.loss.item() - loss_mean)
        if number % 50 == 49:
            say(f"together {number + 1}: loss {loss_mean:.4f}, exact {right:.3f}")


def check_layout(writer: Writer, processor: SmolVLMProcessor) -> None:
    """Makes sure that the tokens of a conversation in training are those that the processor makes of it."""
    imagination = Imagination(0)
    for count in range(6):
        cards = [random_card(imagination.rng) for _ in range(count)]
        images = [[draw_card(card, (160, 120)) for card in cards]] if cards else None
        for split in (False, True):
            conversation = imagination.anything(cards)
            text = "".join(pieces(conversation.messages))
            assert text == processor.apply_chat_template(conversation.messages)
            size = {"images_kwargs": {"size": {"longest_edge": LONGEST_EDGE if split else TILE}}} if cards else {}
            ids = processor(text=[text], images=images, **size)["input_ids"][0]
            layout = writer.layout(conversation, split)
            assert ids[: len(layout.ids)] == layout.ids


def write_card(model: SmolVLMForConditionalGeneration, folder: Path, seed: int) -> None:
    """Evaluates the model as it was written, and writes its card beside it."""
    minutes = time.process_time() / 60
    read_back, processor = evaluate.load(folder)
    scores = evaluate.evaluate(read_back, processor, evaluate.held_out_frames(400))
    table = evaluate.table(scores)
    say(f"percent of phrases right:\n{table}")
    config = model.config
    card = model_card(
        kinds=", ".join(KINDS),
        colour_count=len(COLOURS),
        colours=", ".join(COLOURS),
        no_image=NO_IMAGE_ANSWER,
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        tile=TILE,
        patch=PATCH,
        shuffle=SHUFFLE,
        tokens=TOKENS_PER_TILE,
        vision_layers=config.vision_config.num_hidden_layers,
        vision_hidden=config.vision_config.hidden_size,
        text_layers=config.text_config.num_hidden_layers,
        text_hidden=config.text_config.hidden_size,
        vocabulary=VOCABULARY,
        context=CONTEXT,
        longest_edge=LONGEST_EDGE,
        split_tokens=len(processor.tokenizer.encode(image_string(2, 2))),
        single_tokens=len(processor.tokenizer.encode(image_string(0, 0))),
        table=table,
        prompts=sum(score.total // count for (_, _, count), score in scores.items()),
        phrases=sum(score.total for score in scores.values()),
        most=MAX_FRAMES,
        seed=seed,
        minutes=minutes,
    )
    (folder / "README.md").write_text(card)


def train(plan: Plan, seed: int, folder: Path) -> SmolVLMForConditionalGeneration:
    """All stages; the model is written to `folder` after each of the last two, with its card after the last."""
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer)
    model = build_model(build_config(tokenizer), seed)
    with torch.random.fork_rng():  # no stage's random numbers hang on what another stage draws
        aids = Aids(model.config.text_config.hidden_size)
    writer = Writer(tokenizer)
    check_layout(writer, processor)
    pool = make_pool(processor.image_processor, plan.frames, plan.split_frames, seed)
    say(f"drew {len(pool.cards)} frames")
    train_vision(model, pool, plan, seed)
    source = Source(pool, writer, plan, seed)
    train_text(model, source, aids, plan)
    save(model, processor, folder)
    train_together(model, source, aids, plan, seed)
    save(model, processor, folder)
    write_card(model, folder, seed)
    return model


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(Plan(), arguments.seed, arguments.folder)


if __name__ == "__main__":
    main()
