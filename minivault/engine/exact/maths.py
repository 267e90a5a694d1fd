"""Functions of one number from additions, multiplications, divisions and roundings of IEEE 754 alone.

No library's exp, sin or pow: their last bit belongs to their vendor. Float32 ones are written without branches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from minivault.engine.exact.compiling import OPTIONS
from minivault.engine.exact.ops import add, at_least, at_most, bits, of_bits, shifted

Floats = NDArray[np.float64]

MAGIC = np.float32(1.5 * 2**23)
"""Added to a number below 2**22, it rounds it to an integer, ties to even, and holds it in its lowest bits."""
MAGIC_BITS = int(MAGIC.view(np.int32))
ONE = np.float32(1)
LOG2_E = np.float32(math.log2(math.e))
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)

inlined = njit(nogil=True, inline="always", **OPTIONS)


@inlined
def rounded(x: np.float32) -> np.int32:
    """To the nearest integer, ties to even, for |x| < 2**22."""
    return add(bits(x + MAGIC), np.int32(-MAGIC_BITS))


@inlined
def exp(x: np.float32) -> np.float32:
    """Within 2 units of the last place, for x between -87 and 88; beyond, as at these (polynomial: Cephes expf)."""
    x = at_most(at_least(x, np.float32(-87)), np.float32(88))
    shift = x * LOG2_E + MAGIC
    n = shift - MAGIC
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return (p * r * r + r + ONE) * of_bits(shifted(add(bits(shift), np.int32(127 - MAGIC_BITS)), np.int32(23)))


@inlined
def silu(x: np.float32) -> np.float32:
    return x / (ONE + exp(-x))


@inlined
def gelu_tanh(x: np.float32) -> np.float32:
    """x/2 * (1 + tanh(y)) = x / (1 + exp(-2y)) with y = sqrt(2/pi) * (x + 0.044715 x^3)."""
    y = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return x / (ONE + exp(np.float32(-2) * y))


@inlined
def gelu(x: np.float32) -> np.float32:
    """x/2 * (1 + erf(x / sqrt 2)), erf within 1.5e-7 (Abramowitz and Stegun 7.1.26)."""
    z = x * np.float32(math.sqrt(0.5))
    size = at_least(z, -z)
    t = ONE / (ONE + np.float32(0.3275911) * size)
    p = np.float32(1.061405429)
    p = p * t + np.float32(-1.453152027)
    p = p * t + np.float32(1.421413741)
    p = p * t + np.float32(-0.284496736)
    p = p * t + np.float32(0.254829592)
    tail = np.float32(0.5) * p * t * exp(-size * size)
    return at_least(x, np.float32(0)) - at_least(x, -x) * tail


@inlined
def relu(x: np.float32) -> np.float32:
    return at_least(x, np.float32(0))


def frequencies(rope: Mapping[str, Any], head_size: int) -> Floats:
    """Radians per position [head_size / 2], for rope types default, linear and llama3: correctly rounded powers."""
    with localcontext() as context:
        context.prec = 40
        base, half = Decimal(float(rope["rope_theta"])), head_size // 2
        plain = np.array([float((-(base.ln() * i) / half).exp()) for i in range(half)])
    if rope["rope_type"] == "linear":
        return plain / float(rope["factor"])
    return _llama3(plain, rope) if rope["rope_type"] == "llama3" else plain


def _llama3(plain: Floats, rope: Mapping[str, Any]) -> Floats:
    """Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended."""
    turns = plain * (float(rope["original_max_position_embeddings"]) / (2 * math.pi))
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    share = np.clip((turns - low) / (high - low), 0, 1)
    slow = plain / float(rope["factor"])
    return slow + (plain - slow) * share


_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""pi/2 in three parts, the first two with zeros at their ends: their products with small integers are exact (fdlibm)."""


def rotations(frequency: Floats, num_positions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin of position * frequency [num_positions, len(frequency)], float64 rounded to float32 at the end."""
    angle = np.arange(num_positions, dtype=np.float64)[:, None] * frequency
    quarter = np.rint(angle * (2 / math.pi))
    r = angle
    for part in _HALF_PI:
        r = r - quarter * part
    sine, cosine = _sine(r), _cosine(r)
    turn = quarter.astype(np.int64) & 3
    is_odd = turn % 2 == 1
    cos, sin = np.where(is_odd, sine, cosine), np.where(is_odd, cosine, sine)
    cos, sin = np.where((turn == 1) | (turn == 2), -cos, cos), np.where(turn >= 2, -sin, sin)
    return cos.astype(np.float32), sin.astype(np.float32)


def _sine(r: Floats) -> Floats:
    """Of |r| <= pi/4: Taylor's series as far as float64 goes."""
    square, total = r * r, np.zeros_like(r)
    for n in range(19, 1, -2):
        total = (total + 1) * (square / -float(n * (n - 1)))
    return r + r * total


def _cosine(r: Floats) -> Floats:
    square, total = r * r, np.zeros_like(r)
    for n in range(20, 0, -2):
        total = (total + 1) * (square / -float(n * (n - 1)))
    return 1 + total
