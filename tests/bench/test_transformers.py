"""The incumbent as it is measured: where a batch's captions end."""

import torch

from bench.contenders.transformers import _ends_after


def test_each_row_of_a_batch_ends_after_its_own_number_of_tokens() -> None:
    ends = _ends_after([1, 3])
    tokens, scores = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 9)
    assert [ends(tokens, scores).tolist() for _ in range(3)] == [[True, False], [True, False], [True, True]]


def test_what_ends_a_batch_is_where_its_tokens_are() -> None:
    """transformers joins it with a tensor of its own there, and a GPU takes none of the processor's memory."""
    tokens, scores = torch.zeros(2, 5, dtype=torch.long, device="meta"), torch.zeros(2, 9, device="meta")
    assert _ends_after([1, 3])(tokens, scores).device.type == "meta"
