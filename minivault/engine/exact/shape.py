"""A decoder's sizes as numbers for compiled code."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.support import ACTIVATIONS
from minivault.families import Block, Experts

BY_HEAD, ALL_HEADS = 1, 2
"""What `Shape.head_norm` says of queries and keys; 0: they are not normed."""


def padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def unpaired(size: int, turned: int) -> NDArray[np.int64]:
    """The numbers of a head in our order, given that the first `turned` of them are turned together in pairs."""
    inside = np.arange(size)
    inside[:turned] = inside[:turned].reshape(-1, 2).T.reshape(-1)
    return inside


class Shape(NamedTuple):
    """`Block`'s numbers; `lanes` is the head size rounded up to 16."""

    layers: int
    hidden: int
    heads: int
    groups: int
    head_size: int
    lanes: int
    vocabulary: int
    activation: int
    eps: float
    is_gated: bool
    is_centred: bool
    is_parallel: bool
    is_scaled_by_depth: bool
    has_input_norms: bool
    has_output_norms: bool
    head_norm: int
    turned: int
    """Numbers of a head that are turned."""
    attention_scale: float
    attention_cap: float
    logit_cap: float
    embedding_scale: float
    residual_scale: float
    logit_scale: float
    experts: int
    """How many; 0: there are none."""
    experts_used: int
    expert_mlp: int
    """Width of an expert, rounded up to 32."""
    routes: int
    """Numbers of a row that a router gives, rounded up to 16."""
    is_share_normalized: bool
    has_shared_mlp: bool
    gate_slope: float
    gate_limit: float


def shape_of(block: Block) -> Shape:
    experts = block.experts or Experts(0, 0, 0)
    return Shape(
        layers=block.num_layers,
        hidden=block.hidden,
        heads=block.num_heads,
        groups=block.num_groups,
        head_size=block.head_size,
        lanes=padded(block.head_size, 16),
        vocabulary=block.vocabulary,
        activation=ACTIVATIONS[block.activation],
        eps=float(block.norm_eps),
        is_gated=block.is_gated,
        is_centred=block.is_centred,
        is_parallel=block.is_parallel,
        is_scaled_by_depth=block.is_scaled_by_depth,
        has_input_norms=block.has_input_norms,
        has_output_norms=block.has_output_norms,
        head_norm={"": 0, "head": BY_HEAD, "all": ALL_HEADS}[block.head_norm],
        turned=block.turned,
        attention_scale=block.attention_scale or 1 / math.sqrt(block.head_size),
        attention_cap=float(block.attention_cap),
        logit_cap=float(block.logit_cap),
        embedding_scale=float(block.embedding_scale),
        residual_scale=float(block.residual_scale),
        logit_scale=float(block.logit_scale),
        experts=experts.num,
        experts_used=experts.used,
        expert_mlp=padded(experts.mlp, 32),
        routes=padded(experts.num + experts.has_shared, 16),
        is_share_normalized=experts.is_normalized,
        has_shared_mlp=experts.has_shared,
        gate_slope=float(experts.gate_slope),
        gate_limit=float(experts.gate_limit),
    )
