"""Norms of a row, and a row as int8 with a scale for every 32 numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.compiling import inlined, part
from minivault.engine.exact.maths import rounded
from minivault.engine.exact.ops import add, bits, both, larger, of_bits
from minivault.engine.exact.scratch import Quantized
from minivault.engine.exact.shape import Shape
from minivault.engine.exact.tensors import Weights

LEAST = int(np.float32(1e-30).view(np.int32))
"""The bits of the smallest magnitude that a group is scaled by; all below becomes zeros."""


@inlined
def _sum(partial: Any) -> np.float32:
    total = np.float32(0)
    for lane in range(16):
        total += partial[lane]
    return total


@inlined
def _sum_of_squares(x: Any, mean: np.float32, size: int, partial: Any) -> np.float32:
    """Number k goes to partial sum k % 16; these are added in order."""
    partial[:] = 0
    whole = size // 16 * 16
    for k in range(0, whole, 16):
        for lane in range(16):
            partial[lane] += (x[k + lane] - mean) * (x[k + lane] - mean)
    for k in range(whole, size):
        partial[k - whole] += (x[k] - mean) * (x[k] - mean)
    return _sum(partial)


@inlined
def _mean(x: Any, size: int, partial: Any) -> np.float32:
    partial[:] = 0
    whole = size // 16 * 16
    for k in range(0, whole, 16):
        for lane in range(16):
            partial[lane] += x[k + lane]
    for k in range(whole, size):
        partial[k - whole] += x[k]
    return _sum(partial) / np.float32(size)


@part
def normalize(shape: Shape, weights: Weights, norm: int, x: Any, size: int, count: int, out: Any, partial: Any) -> None:
    """RMSNorm or, centred, LayerNorm: (x - mean) / sqrt(mean square + eps) * weight (+ bias), of x[:size].

    `count` of these are the model's own; others fill lanes and are zero, as are their weights. `out` may be `x`."""
    mean = _mean(x, size, partial) if shape.is_centred else np.float32(0)
    square = _sum_of_squares(x, mean, size, partial) / np.float32(count)
    factor = np.float32(1) / np.sqrt(square + np.float32(shape.eps))
    at, bias = weights.norms[norm]
    weight = weights.floats[at : at + size]
    for k in range(size):
        out[k] = (x[k] - mean) * factor * weight[k]
    if bias >= 0:
        shift = weights.floats[bias : bias + size]
        for k in range(size):
            out[k] += shift[k]


@part
def quantize(x: Any, r: int, start: int, stop: int, out: Quantized, times: float) -> None:
    """Row r of `out`, inputs [start, stop), whole groups of 32: code = x * 127 / largest |x|, rounded.

    It stands for `times` x."""
    codes = out.codes[r]
    for g in range(start // 32, stop // 32):
        values, ints = x[g * 32 : g * 32 + 32], codes[g * 32 : g * 32 + 32]
        top = np.int32(LEAST)
        for k in range(32):
            top = larger(top, both(bits(values[k]), np.int32(0x7FFFFFFF)))
        most = of_bits(top)
        factor, first, second = np.float32(127) / most, np.int32(0), np.int32(0)
        for k in range(16):
            code = rounded(values[k] * factor)
            ints[k] = code
            first = add(first, code)
        for k in range(16, 32):
            code = rounded(values[k] * factor)
            ints[k] = code
            second = add(second, code)
        scale = most / np.float32(127) * np.float32(times)
        out.scales[r, g] = scale
        out.sums[r, g] = first + second
        out.scaled_sums[r, g] = scale * np.float32(first + second)
        out.half_sums[r, 2 * g] = first
        out.half_sums[r, 2 * g + 1] = second
