"""The one place that touches torch's deprecated quantised-tensor interface (deprecated in 2.13; torch is pinned)."""

from __future__ import annotations

import warnings
from typing import Any

import torch

Packed = Any
"""An int8 weight in fbgemm's layout, with its scales and bias: a torch ScriptObject."""

LEVELS = 127
"""Largest magnitude of an int8 weight."""


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight` [out, in] as int8 and one float32 scale per row [out]; weight ~ int8 * scale."""
    scale = (weight.abs().amax(1) / LEVELS).clamp_min(1e-12)
    return (weight / scale[:, None]).round_().clamp_(-LEVELS, LEVELS).to(torch.int8), scale


def _quantized(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros(len(weight), dtype=torch.long)
    return torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)


def _hear_the_warning() -> None:
    """torch tells once a process that the interface is deprecated. We know; `pack` runs in threads, where a filter
    would be a race."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _quantized(torch.zeros(1, 1, dtype=torch.int8), torch.ones(1))


_hear_the_warning()


def pack(weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> Packed:
    """An int8 weight [out, in] with its scales [out], laid out for `multiply`."""
    return torch.ops.quantized.linear_prepack(_quantized(weight, scale), bias)


def multiply(x: torch.Tensor, scale: float, zero: int, packed: Packed) -> torch.Tensor:
    """W x + b for rows x [rows, in], rounded to multiples of `scale` around `zero` in 0..255 [rows, out]."""
    kernel = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    product: torch.Tensor = kernel(x, scale, zero, packed)
    return product
