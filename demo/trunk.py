"""SmolVLM's parts put together for training: features of tiles, packed batches, and a language model pass with aids."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import SmolVLMForConditionalGeneration
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from demo.conversations import Layout

MAX_FRAMES = 12  # in one prompt, in training
CHOOSING_LAYER = 2  # where some heads are shown which frame to look at
CHOOSING_HEADS = 3


def features(model: SmolVLMForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """What the language model gets of tiles (b, 3, TILE, TILE): (b, tokens per tile, hidden size)."""
    return model.model.connector(model.model.vision_model(pixels).last_hidden_state)


@dataclass
class Batch:
    """Conversations padded on the right to one length; integers of shape (conversations, tokens)."""

    ids: torch.Tensor
    labels: torch.Tensor
    frame: torch.Tensor
    phrase: torch.Tensor
    images: torch.Tensor  # (image tokens of the batch in order, hidden size)


def collate(layouts: Sequence[Layout], images: torch.Tensor, pad: int) -> Batch:
    """Pads layouts to the longest of them."""
    length = max(len(layout.ids) for layout in layouts)

    def padded(name: str, fill: int) -> torch.Tensor:
        return torch.tensor([getattr(x, name) + [fill] * (length - len(x.ids)) for x in layouts])

    return Batch(padded("ids", pad), padded("labels", -100), padded("frame", -1), padded("phrase", -1), images)


@dataclass
class Outcome:
    """What one pass over a batch gave."""

    loss: torch.Tensor
    exact: torch.Tensor  # (conversations,) whether every token of every answer was the likeliest
    choosing: float  # mean attention of the choosing heads on the right frame


class Aids(nn.Module):
    """Thrown away after training: it teaches a middle layer to number frames and phrases and to match the numbers.

    Without it, finding the i-th frame for the i-th phrase takes most of the training; with it, a small part.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.number = nn.Linear(hidden, MAX_FRAMES)

    def forward(
        self, hidden: torch.Tensor, q: torch.Tensor, k: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, float]:
        """:param hidden: (b, t, hidden), what enters the choosing layer; q, k: (b, heads, t, head size), turned

        :returns: the loss (numbering + choosing), and the mean attention on the right frame
        """
        number = torch.maximum(batch.frame, batch.phrase)
        marked = number >= 0
        asking = batch.phrase >= 0
        if not asking.any():
            return hidden.new_zeros(()), 1.0
        numbering = F.cross_entropy(self.number(hidden[marked]), number[marked])
        most = int(asking.sum(1).max())
        order = asking.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # (b, most) positions that ask
        valid = asking.gather(1, order)
        q = q[:, :CHOOSING_HEADS].gather(2, order[:, None, :, None].expand(-1, CHOOSING_HEADS, -1, q.shape[-1]))
        scores = q @ k[:, :CHOOSING_HEADS].transpose(2, 3) / q.shape[-1] ** 0.5  # (b, heads, most, t)
        later = torch.arange(scores.shape[-1])[None, None] > order[:, :, None]
        scores = scores.masked_fill(later[:, None], float("-inf"))
        wanted = batch.frame[:, None, :] == batch.phrase.gather(1, order)[:, :, None]  # (b, most, t)
        share = scores.masked_fill(~wanted[:, None], float("-inf")).logsumexp(-1) - scores.logsumexp(-1)
        share = share.transpose(1, 2)[valid]
        return numbering - share.mean(), float(share.detach().exp().mean())


def run(model: SmolVLMForConditionalGeneration, batch: Batch, aids: Aids | None, weight: float) -> Outcome:
    """One pass of the language model over a batch, computing logits only where something has to be said."""
    text = model.model.text_model
    hidden = text.embed_tokens(batch.ids)
    if batch.images.numel():
        flat = hidden.reshape(-1, hidden.shape[-1]).clone()
        flat[(batch.ids == model.config.image_token_id).flatten()] = batch.images
        hidden = flat.view_as(hidden)
    size, length = batch.ids.shape
    cos, sin = text.rotary_emb(hidden, torch.arange(length)[None])
    aid, choosing = hidden.new_zeros(()), 0.0
    for number, layer in enumerate(text.layers):
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        q, k, v = (
            projection(normed).view(size, length, -1, attention.head_dim).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        if aids is not None and number == CHOOSING_LAYER:
            aid, choosing = aids(hidden, q, k, batch)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden = hidden + attention.o_proj(mixed.transpose(1, 2).reshape(size, length, -1))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    said = batch.labels >= 0
    logits = model.lm_head(text.norm(hidden[said]))
    labels = batch.labels[said]
    loss = F.cross_entropy(logits, labels) + weight * aid
    wrong = torch.zeros(batch.ids.shape, dtype=torch.bool)
    wrong[said] = logits.detach().argmax(-1) != labels
    return Outcome(loss, ~wrong.any(1), choosing)
