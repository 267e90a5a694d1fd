"""Norms of a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.compiling import inlined, part
from minivault.engine.exact.shape import Shape
from minivault.engine.exact.tensors import Weights


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
