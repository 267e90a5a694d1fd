"""Functions of one number from additions, multiplications, divisions and roundings of IEEE 754 alone.

No library's exp, sin or pow: their last bit belongs to their vendor. Float32 ones are written without branches.
"""

from __future__ import annotations

import math

import numpy as np

from minivault.engine.exact.compiling import inlined
from minivault.engine.exact.ops import add, at_least, at_most, bits, of_bits, shifted

MAGIC = np.float32(1.5 * 2**23)
"""Added to a number below 2**22, it rounds it to an integer, ties to even, and holds it in its lowest bits."""
MAGIC_BITS = int(MAGIC.view(np.int32))
ONE = np.float32(1)
LOG2_E = np.float32(math.log2(math.e))
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)


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
def tanh(x: np.float32) -> np.float32:
    """1 - 2 / (1 + exp(2x)), within 2**-23 of 1."""
    return ONE - np.float32(2) / (ONE + exp(np.float32(2) * x))


@inlined
def relu(x: np.float32) -> np.float32:
    return at_least(x, np.float32(0))
