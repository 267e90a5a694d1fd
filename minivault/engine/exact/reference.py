"""The specification: plain loops that run on any CPU, and that every kernel equals bit for bit.

Weights lie in blocks of 16 rows. For every 32 inputs a block has its codes, 4 bytes of each row in turn: of bytes the
next 4 inputs, of nibbles the next 4 in the low halves and 4 more in the high ones; of sixes two such of nibbles, then
the two high bits of these 16, lowest first. Scales and minima are float16, [block, group, 16]; or, nested, float16 for
256 inputs and int8 [block, group, 1 or 2, 16] for a group, whose product is rounded to float16. Levels are 16 bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.compiling import inlined
from minivault.engine.exact.formats import Format
from minivault.engine.exact.ops import bits, fma
from minivault.engine.exact.tensors import CODES, COUNT, LEVELS, MINIMA, SCALES, STEPS, ZERO


@inlined
def code(w: Any, f: Any, bits: int, of_32: int, lane: int, k: int) -> int:
    """A row's k-th code of 32 inputs, these counted through all blocks."""
    at = f[CODES] + of_32 * (bits * 64) + lane * 4 + k % 4
    if bits == 8:
        return np.int64(w.bytes[at + k // 4 * 64])
    nibbles = np.int64(w.bytes[at + (k // 8 if bits == 4 else k // 16 * 3 + k // 8 % 2) * 64])
    low = (nibbles >> 4) if k % 8 >= 4 else (nibbles & 15)
    if bits == 4:
        return low
    high = np.int64(w.bytes[at + (k // 16 * 3 + 2) * 64])
    return low | ((high >> (k // 4 % 4 * 2)) & 3) << 4


@inlined
def factor(w: Any, f: Any, which: int, groups: int, num: int, is_nested: bool, block: int, g: int, lane: int) -> Any:
    """The scale or the minimum (`which`) of a row's group g, of `groups` in 32 inputs, each of which has `num` factors;
    `block` counts in 32 inputs."""
    if not is_nested:
        return single(w.halves[f[which] + (block * groups + g) * 16 + lane])
    wide = single(w.halves[f[which] + (block // 8 + g // groups // 8) * 16 + lane])
    step = np.int8(w.bytes[f[STEPS] + ((block * groups + g) * num + which - SCALES) * 16 + lane])
    return single(_half_of(wide * np.float32(step)))


def accumulator(form: Format) -> Any:
    """`accumulate(kind, w, f, z, r0, r1, n0, n1, y, c)` for weights of a format.

    Adds to y[r0:r1, c + n0 : c + n1] the products of rows n0:n1 of the map with fields `f` and the quantised rows
    r0:r1 of z. Group after group, with p the sum of (code - zero) * x, an integer, and scales d of the weights, t of
    the activations: y = fma(p, d * t, y). Where there are minima m, then y = fma(m, t * sum of x, y)."""
    bits, size, has_minima, groups = form.bits, form.group, form.has_minima, 32 // form.group
    num, is_nested, has_levels = form.num_factors, form.is_nested, form.has_levels

    def accumulate(kind: Any, w: Any, f: Any, z: Any, r0: int, r1: int, n0: int, n1: int, y: Any, c: int) -> None:  # noqa: ARG001
        count, sums = f[COUNT], z.half_sums if size == 16 else z.sums
        for n in range(n0, n1):
            block, lane = n // 16 * count, n % 16
            for r in range(r0, r1):
                total = y[r, c + n]
                for g in range(count * groups):
                    of_32 = g // groups
                    p = np.int32(0)
                    for k in range(g % groups * size, g % groups * size + size):
                        q = code(w, f, bits, block + of_32, lane, k)
                        if has_levels:
                            q = np.int64(w.bytes[f[LEVELS] + q])
                        p += np.int32(q) * np.int32(z.codes[r, of_32 * 32 + k])
                    p -= np.int32(f[ZERO]) * sums[r, g]
                    scale = factor(w, f, SCALES, groups, num, is_nested, block, g, lane)
                    total = fma(np.float32(p), scale * z.scales[r, of_32], total)
                    if has_minima:
                        low = factor(w, f, MINIMA, groups, num, is_nested, block, g, lane)
                        total = fma(low, z.scales[r, of_32] * np.float32(sums[r, g]), total)
                y[r, c + n] = total

    return accumulate


def combine(kind: Any, a: Any, a0: int, a_row: int, num: int, rows: Any, first: int, stride: int, count: int,
            width: int, out: Any, o0: int, o_row: int) -> None:  # fmt: skip
    """out[j, :width] += a[j, k] * rows[k, :width] for k < count in order, each step one fused multiply-add, j < num.

    Matrices are places in flat arrays: `a` from `a0` in steps of `a_row`, float16 `rows` from `first` in `stride`s."""
    for j in range(num):
        for at in range(width):
            total = out[o0 + j * o_row + at]
            for k in range(count):
                total = fma(a[a0 + j * a_row + k], kind.halves[rows[first + k * stride + at]], total)
            out[o0 + j * o_row + at] = total


@inlined
def single(h: int) -> np.float32:
    """The float32 of a finite float16's bits, by arithmetic that is exact everywhere."""
    size = np.float32(np.int64(h) & 1023)
    exponent = (np.int64(h) >> 10) & 31
    if exponent:
        size = (size + np.float32(1024)) * np.float32(1 << (exponent - 1))
    size = size * np.float32(2.0**-24)
    return -size if h & 0x8000 else size


def half(kind: Any, x: Any) -> Any:  # noqa: ARG001
    """The bits of the float16 nearest to x, ties to even, for |x| <= 65504."""
    return _half_of(x)


@inlined
def _half_of(x: Any) -> Any:
    b = bits(x)
    sign, size = (b >> 16) & 0x8000, b & 0x7FFFFFFF
    if size < 0x38800000:  # below the smallest normal: count in units of the smallest subnormal
        return np.uint16(sign | _units(size))
    return np.uint16(sign | ((size - 0x38000000 + 0xFFF + ((size >> 13) & 1)) >> 13))


@inlined
def _units(size: np.int32) -> np.int32:
    """Round a float of these bits, below 2**-14, to a multiple of 2**-24."""
    shift = 126 - (size >> 23)
    if shift > 24:
        return np.int32(0)
    mantissa = (size & 0x7FFFFF) | 0x800000
    kept = mantissa >> shift
    rest = mantissa - (kept << shift)
    middle = 1 << (shift - 1)
    return np.int32(kept + (1 if rest > middle or (rest == middle and kept & 1) else 0))
