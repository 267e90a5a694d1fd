"""Linear maps of any format, their biases, and rows of the embedding out of the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.compiling import inlined, part
from minivault.engine.exact.formats import (
    BYTES,
    BYTES_BY_16,
    BYTES_MINIMA,
    FORMATS,
    NIBBLES,
    NIBBLES_BY_16,
    NIBBLES_MINIMA,
    NIBBLES_MINIMA_BY_16,
)
from minivault.engine.exact.kernels import accumulator
from minivault.engine.exact.ops import fma
from minivault.engine.exact.tensors import (
    BIAS,
    CODES,
    COUNT,
    FORMAT,
    MINIMA,
    SCALES,
    ZERO,
    Floats,
    Quantized,
    Shape,
    Weights,
)

_nibbles, _nibbles_minima = accumulator(NIBBLES), accumulator(NIBBLES_MINIMA)
_bytes, _bytes_minima, _bytes_by_16 = accumulator(BYTES), accumulator(BYTES_MINIMA), accumulator(BYTES_BY_16)
_nibbles_by_16, _nibbles_minima_by_16 = accumulator(NIBBLES_BY_16), accumulator(NIBBLES_MINIMA_BY_16)
IS_NIBBLES, IS_NIBBLES_MINIMA, IS_BYTES, IS_BYTES_MINIMA, IS_BYTES_BY_16, IS_NIBBLES_BY_16 = (
    FORMATS.index(form) for form in (NIBBLES, NIBBLES_MINIMA, BYTES, BYTES_MINIMA, BYTES_BY_16, NIBBLES_BY_16)
)
_BITS, _GROUP, _HAS_MINIMA = (np.array(column) for column in zip(*FORMATS, strict=True))


@part
def linear(kind: Any, w: Weights, i: int, z: Quantized, r0: int, r1: int, n0: int, n1: int, y: Floats, c: int) -> None:
    """y[r0:r1, c + n0 : c + n1] += rows n0:n1 of map i, times z."""
    f = w.maps[i]
    if f[FORMAT] == IS_NIBBLES:
        _nibbles(kind, w, f, z, r0, r1, n0, n1, y, c)
    elif f[FORMAT] == IS_NIBBLES_MINIMA:
        _nibbles_minima(kind, w, f, z, r0, r1, n0, n1, y, c)
    elif f[FORMAT] == IS_BYTES:
        _bytes(kind, w, f, z, r0, r1, n0, n1, y, c)
    elif f[FORMAT] == IS_BYTES_MINIMA:
        _bytes_minima(kind, w, f, z, r0, r1, n0, n1, y, c)
    elif f[FORMAT] == IS_BYTES_BY_16:
        _bytes_by_16(kind, w, f, z, r0, r1, n0, n1, y, c)
    elif f[FORMAT] == IS_NIBBLES_BY_16:
        _nibbles_by_16(kind, w, f, z, r0, r1, n0, n1, y, c)
    else:
        _nibbles_minima_by_16(kind, w, f, z, r0, r1, n0, n1, y, c)


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
    form, count, block, lane = f[FORMAT], f[COUNT], token // 16, token % 16
    is_nibbles, size, has_minima = _BITS[form] == 4, _GROUP[form], _HAS_MINIMA[form]
    for k in range(shape.hidden):
        place = (block * count * (32 // size) + k // size) * 16 + lane
        scale = _single(w.halves[f[SCALES] + place])
        if is_nibbles:
            at = f[CODES] + (block * count * 4 + k // 8) * 64 + lane * 4 + k % 4
            code = (w.bytes[at] >> (k // 4 % 2 * 4)) & 15
        else:
            code = w.bytes[f[CODES] + (block * count * 8 + k // 4) * 64 + lane * 4 + k % 4]
        minimum = _single(w.halves[f[MINIMA] + place]) if has_minima else np.float32(0)
        x[k] = fma(np.float32(np.int32(code) - np.int32(f[ZERO])), scale, minimum) * np.float32(shape.embedding_scale)
        if w.positions >= 0:
            x[k] += w.floats[w.positions + position * shape.hidden + k]


@inlined
def _single(h: int) -> np.float32:
    """The float32 of a finite float16's bits, by arithmetic that is exact everywhere."""
    size = np.float32(np.int64(h) & 1023)
    exponent = (np.int64(h) >> 10) & 31
    if exponent:
        size = (size + np.float32(1024)) * np.float32(1 << (exponent - 1))
    size = size * np.float32(2.0**-24)
    return -size if h & 0x8000 else size
