"""Attention as explicit batched products over a cache in blocks, each with bits that do not depend on its neighbours.

A product over more than about 380 positions is split differently by MKL for different lengths, so values are summed
block by block in a fixed order; positions past a row's own contribute exact zeros. Keys of a large batch are multiplied
128 positions at a time, which is faster and changes no bit: a score sums over a head only. A product of few rows takes
another way through MKL: whoever has a varying number of them must bring at least MIN_ROWS.
`scaled_dot_product_attention` does not give the same bits for different batches and paddings.
"""

from __future__ import annotations

import torch

from minivault.engine.fused.script import script

BLOCK = 256
"""Positions per cache block, and the most that one product sums over."""
MIN_ROWS = 16
"""Queries from which on a row's bits do not depend on their number."""
BUCKET = 64
"""The number of positions attended to is rounded up to a multiple of this."""


def bucket(num_positions: int) -> int:
    return -(-num_positions // BUCKET) * BUCKET


def mask(positions: torch.Tensor, num_groups: int, num_queries: int) -> torch.Tensor:
    """Zero where a row may look, -inf after its position: for positions [rows], [rows * groups, queries, bucket]."""
    seen = torch.arange(bucket(int(positions.max()) + 1))
    hidden = torch.zeros(len(positions), 1, 1, len(seen)).masked_fill_(
        seen > positions[:, None, None, None], -torch.inf
    )
    return hidden.expand(-1, num_groups, num_queries, -1).flatten(0, 1)


@script
def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """softmax(query keys + mask) values, for query [batch, queries, size] (already scaled), keys and values [blocks,
    batch, 256, size] and mask [batch, queries, positions]; [batch, queries, size]."""
    total = mask.size(-1)
    span = 256 if query.size(0) <= 24 else 128
    if total <= span:
        scores = torch.baddbmm(mask, query, keys[0].narrow(1, 0, total).transpose(1, 2))
        return torch.bmm(scores.softmax(-1), values[0].narrow(1, 0, total))
    parts: list[torch.Tensor] = []
    start = 0
    while start < total:
        part = mask.narrow(2, start, min(span, total - start))
        near = keys[start // 256].narrow(1, start % 256, part.size(2))
        parts.append(torch.baddbmm(part, query, near.transpose(1, 2)))
        start += span
    weights = torch.cat(parts, -1).softmax(-1)
    attended = torch.bmm(weights.narrow(2, 0, min(256, total)), values[0].narrow(1, 0, min(256, total)))
    start = 256
    while start < total:
        part = weights.narrow(2, start, min(256, total - start))
        attended = torch.baddbmm(attended, part, values[start // 256].narrow(1, 0, part.size(2)))
        start += 256
    return attended
