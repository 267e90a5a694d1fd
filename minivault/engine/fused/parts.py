"""A model's tensors as its family names them, in the plain form that folding works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Read = Callable[..., torch.Tensor]
"""`read(name, *shape)`: the float32 tensor of that name; ModelError where it is missing, misshapen or not finite."""


@dataclass(frozen=True, slots=True)
class Affine:
    """`weight` [out, in] and `bias` [out] or None: x -> weight @ x + bias. A norm is one whose weight is a vector."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One block. `ups` is (gate, up) where the MLP is gated, else (up,)."""

    attention_norm: Affine
    query: Affine
    key: Affine
    value: Affine
    output: Affine
    mlp_norm: Affine
    ups: tuple[Affine, ...]
    down: Affine


@dataclass(frozen=True, slots=True)
class Ends:
    """What comes before the first block and after the last. `positions` [positions, hidden] where they are learned."""

    embedding: torch.Tensor
    positions: torch.Tensor | None
    norm: Affine
    head: torch.Tensor
