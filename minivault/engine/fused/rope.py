"""Rotary position embedding as one complex multiplication.

The two halves of a head are interleaved once, in the weights, so that neighbours form complex numbers; a position is
then a multiplication by exp(i * angle). Values pass through the same multiplication with angle zero, so that a
layer's queries, keys and values need no splitting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch


def interleave(weight: torch.Tensor, head_size: int) -> torch.Tensor:
    """`weight` [heads * head_size, …] with rows i and i + head_size / 2 of each head made neighbours."""
    heads = weight.reshape(-1, 2, head_size // 2, weight[0].numel())
    return heads.transpose(1, 2).reshape(weight.shape)


def frequencies(rope: Mapping[str, Any], head_size: int) -> torch.Tensor:
    """Radians per position [head_size / 2], float32, for rope types default, linear and llama3."""
    steps = torch.arange(0, head_size, 2, dtype=torch.int64).float() / head_size
    plain: torch.Tensor = 1.0 / rope["rope_theta"] ** steps
    if rope["rope_type"] == "linear":
        return plain.div(rope["factor"])
    return _llama3(plain, rope) if rope["rope_type"] == "llama3" else plain


def _llama3(plain: torch.Tensor, rope: Mapping[str, Any]) -> torch.Tensor:
    """Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended."""
    turns = rope["original_max_position_embeddings"] * plain / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return torch.lerp(plain / rope["factor"], plain, share)


def turns(rope: Mapping[str, Any], head_size: int, num_queries: int, context: int) -> torch.Tensor:
    """Complex factors [context, num_queries + 2, head_size / 2]: for queries and key, then ones for the value."""
    angle = torch.arange(context).float()[:, None] * frequencies(rope, head_size)
    turn = torch.polar(torch.ones_like(angle), angle)[:, None].expand(-1, num_queries + 1, -1)
    return torch.cat([turn, torch.ones_like(turn[:, :1])], 1)
