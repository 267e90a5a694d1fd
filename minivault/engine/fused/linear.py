"""Linear layers on fbgemm's int8 kernels, exact in their sums and so independent of the number of rows.

Weights have one scale per output channel. Activations have one fixed scale for all rows: *reads* take the output of a
LayerNorm over rotated coordinates, whose values beyond CLIP deviations are as rare as a Gaussian's; *writes* take any
row, divided by its own maximum first. (`quantized::linear_dynamic` scales by the whole batch: it would mix requests.)
"""

from __future__ import annotations

import torch

from minivault.engine.fused.packing import Packed, multiply

CLIP = 3.5
"""Standard deviations that the 8 bits of a normalised activation span."""
TINY = 1e-30
"""Smallest row maximum: a row of zeros stays zeros."""


class Int8Read(torch.nn.Module):
    """z [rows, in], normalised, to W z + b [rows, out]."""

    def __init__(self, packed: Packed, levels: int) -> None:
        super().__init__()
        self.packed, self.scale, self.zero = packed, CLIP / levels, levels + 1

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return multiply(z, self.scale, self.zero, self.packed)


class Int8Write(torch.nn.Module):
    """x [rows, out] and a [rows, in] to x + W a + b."""

    def __init__(self, packed: Packed, levels: int, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.packed, self.scale, self.zero = packed, 1 / levels, levels + 1
        self.bias = bias

    def forward(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        largest = a.abs().amax(-1, True).clamp_min_(TINY)
        x = x.addcmul(multiply(a.div_(largest), self.scale, self.zero, self.packed), largest)
        return x if self.bias is None else x.add_(self.bias)


class FloatRead(torch.nn.Module):
    """Int8Read without quantisation: what the int8 one is measured against."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(z, self.weight, self.bias)


class FloatWrite(FloatRead):
    """Int8Write without quantisation."""

    def forward(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return x + super().forward(a)
