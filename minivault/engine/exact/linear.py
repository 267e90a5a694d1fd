"""Linear maps of any format, their biases, and rows of the embedding out of the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.compiling import part
from minivault.engine.exact.formats import BYTES, FORMATS
from minivault.engine.exact.kernels import accumulator
from minivault.engine.exact.ops import fma
from minivault.engine.exact.reference import code, factor
from minivault.engine.exact.scratch import Quantized
from minivault.engine.exact.shape import Shape
from minivault.engine.exact.tensors import BIAS, COUNT, FORMAT, LEVELS, MINIMA, SCALES, ZERO, Floats, Weights

_EACH = [FORMATS.get(number, BYTES) for number in range(max(FORMATS) + 1)]
_BITS, _GROUP, _, _IS_NESTED, _HAS_LEVELS = (np.array(column) for column in zip(*_EACH, strict=True))
_FACTORS = np.array([form.num_factors for form in _EACH])


def _accumulator(number: int, *later: int) -> Any:
    """For weights of one of the formats of these numbers."""
    of_this = accumulator(FORMATS[number])
    if not later:
        return of_this
    of_later = _accumulator(*later)

    @part
    def accumulate(kind: Any, w: Any, f: Any, z: Any, r0: int, r1: int, n0: int, n1: int, y: Any, c: int) -> None:
        if f[FORMAT] == number:
            of_this(kind, w, f, z, r0, r1, n0, n1, y, c)
        else:
            of_later(kind, w, f, z, r0, r1, n0, n1, y, c)

    return accumulate


_accumulate = _accumulator(*FORMATS)


@part
def linear(kind: Any, w: Weights, i: int, z: Quantized, r0: int, r1: int, n0: int, n1: int, y: Floats, c: int) -> None:
    """y[r0:r1, c + n0 : c + n1] += rows n0:n1 of map i, times z."""
    _accumulate(kind, w, w.maps[i], z, r0, r1, n0, n1, y, c)


@part
def affine(kind: Any, w: Weights, i: int, z: Quantized, r0: int, r1: int, n0: int, n1: int, y: Floats, c: int) -> None:
    """y[r0:r1, c + n0 : c + n1] = rows n0:n1 of map i, times z, plus its bias."""
    started(w, i, r0, r1, n0, n1, y, c, True)
    linear(kind, w, i, z, r0, r1, n0, n1, y, c)


@part
def started(w: Weights, i: int, r0: int, r1: int, n0: int, n1: int, y: Floats, c: int, is_new: bool) -> None:
    """y[r0:r1, c + n0 : c + n1] = the bias of map i (0 where it has none) where y is new, else += it."""
    at = w.maps[i, BIAS]
    for r in range(r0, r1):
        row = y[r, c + n0 : c + n1]
        if is_new:
            row[:] = 0
        if at >= 0:
            bias = w.floats[at + n0 : at + n1]
            for k in range(n1 - n0):
                row[k] += bias[k]


@part
def embed(shape: Shape, w: Weights, token: int, position: int, x: Any) -> None:
    """x = the token's row, scaled (+ the position's)."""
    f = w.maps[len(w.maps) - 2]
    form, block, lane = f[FORMAT], token // 16 * f[COUNT], token % 16
    bits, size, num, is_nested = _BITS[form], _GROUP[form], _FACTORS[form], _IS_NESTED[form]
    for k in range(shape.hidden):
        q, g = code(w, f, bits, block + k // 32, lane, k % 32), k // size
        if _HAS_LEVELS[form]:
            q = np.int64(w.bytes[f[LEVELS] + q])
        scale = factor(w, f, SCALES, 32 // size, num, is_nested, block, g, lane)
        low = factor(w, f, MINIMA, 32 // size, num, is_nested, block, g, lane) if num > 1 else np.float32(0)
        x[k] = fma(np.float32(np.int32(q) - np.int32(f[ZERO])), scale, low) * np.float32(shape.embedding_scale)
        if w.positions >= 0:
            x[k] += w.floats[w.positions + position * shape.hidden + k]
