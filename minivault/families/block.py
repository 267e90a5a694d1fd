"""One decoder described as data: its sizes and switches, and the names that its family gives to tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]
"""A checkpoint's config.json."""


@dataclass(frozen=True, slots=True)
class Block:
    """`rope` is empty for a model with learned positions. `is_centred`: its norms subtract the mean (LayerNorm)."""

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
    def num_queries(self) -> int:
        """Query heads in each group."""
        return self.num_heads // self.num_groups

    @property
    def attention(self) -> int:
        """Width of what attention hands to its output projection."""
        return self.num_heads * self.head_size


@dataclass(frozen=True, slots=True)
class Names:
    """How files name the tensors of a model: each is followed by `.weight` or `.bias`.

    Those of a layer follow `layer`, with its number for `{}`, and all but the head may follow `prefix`.
    """

    prefix: str
    embedding: str
    norm: str
    head: str
    """Absent where the embedding serves."""
    layer: str
    attention_norm: str
    qkv: tuple[str, ...]
    """Query, key and value; or one for the three, joined along the outputs."""
    output: str
    mlp_norm: str
    ups: tuple[str, ...]
    """(gate, up) where the MLP is gated, else (up,)."""
    down: str
    positions: str | None = None
    """Where they are learned."""
    is_transposed: bool = False
    """Linear maps are stored as [in, out]."""
    has_biases: bool = False
    """Every norm and linear map of a layer has one, and the last norm. Otherwise only those linear maps that do."""

    @property
    def of_layer(self) -> tuple[str, ...]:
        """All that a layer has, in an order of our own."""
        return (self.attention_norm, *self.qkv, self.output, self.mlp_norm, *self.ups, self.down)


@dataclass(frozen=True, slots=True)
class Family:
    """Models that differ in numbers only. `why_not` tells in one line why a config is none that `block` describes."""

    model_types: tuple[str, ...]
    names: Names
    block: Callable[[Config], Block]
    why_not: Callable[[Config], str | None]


def missing(config: Config, *names: str) -> str | None:
    """A line about the first of `names` that a config does not have."""
    absent = [name for name in names if config.get(name) is None]
    return f"the config has no {absent[0]}" if absent else None
