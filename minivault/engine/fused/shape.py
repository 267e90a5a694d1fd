"""The sizes and switches of one model: everything about it that is not a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WIDTH_MULTIPLE = 4
"""fbgemm packs input channels by four."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`rope` is empty for a model with learned positions. `is_centred`: its norms subtract the mean (LayerNorm)."""

    family: str
    hidden: int
    num_layers: int
    num_heads: int
    num_groups: int
    """Key/value heads; each serves `num_heads / num_groups` query heads."""
    head_size: int
    mlp: int
    vocabulary: int
    positions: int
    """Most positions the model was made for."""
    norm_eps: float
    activation: str
    is_gated: bool
    is_centred: bool
    is_scaled_by_depth: bool = False
    """Attention scores are divided by the layer's number as well (a GPT-2 option)."""
    rope: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Coordinates of the rotated residual stream: at least one more than `hidden` (see rotation.py)."""
        return self.hidden // WIDTH_MULTIPLE * WIDTH_MULTIPLE + WIDTH_MULTIPLE

    @property
    def num_queries(self) -> int:
        """Query heads in each group."""
        return self.num_heads // self.num_groups

    @property
    def attention(self) -> int:
        """Width of what attention hands to its output projection."""
        return self.num_heads * self.head_size
