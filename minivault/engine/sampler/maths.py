"""exp, log and the order of floats, from operations of IEEE 754 and integers alone: the same bits on any CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minivault.engine.exact.compiling import compiled
from minivault.engine.exact.ops import F32, I32, I64, operation

F64 = ir.DoubleType()
UNIT_BITS = 44
"""A weight of 1 as an integer is 2**44: rows of up to half a million tokens fit in 63 bits."""
LEAST = -40.0
"""Below, a weight is 0 in these units."""
MAGIC = 1.5 * 2.0**52
"""Added to a number below 2**51, it rounds it to an integer, ties to even, and holds it in its lowest bits."""
MAGIC_BITS = int(np.float64(MAGIC).view(np.int64))
LOG2_E, LN2 = 1.4426950408889634, 0.6931471805599453
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.4286068203094173e-06
"""log(2) in two parts, the first with zeros at its end: its products with small integers are exact."""
FACTORIALS = tuple(1 / math.factorial(n) for n in range(13))
ODDS = tuple(1 / n for n in range(1, 23, 2))
ROOT_HALF = math.sqrt(0.5)
MANTISSA, HALF_BITS, BIAS = (1 << 52) - 1, 1022 << 52, 1022


def _cast(result: Any, operand: Any, kind: Any) -> Any:
    """The same 64 bits as another type."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], kind)

    return intrinsic(lambda _typing, _x: (result(operand), emit))


_bits, _of_bits = _cast(types.int64, types.float64, I64), _cast(types.float64, types.int64, F64)


def _flipped(builder: Any, x: Any) -> Any:
    sign = builder.ashr(x, ir.Constant(I32, 31))
    return builder.xor(x, builder.and_(sign, ir.Constant(I32, 0x7FFFFFFF)))


def _ordered(builder: Any, x: Any) -> Any:
    return _flipped(builder, builder.bitcast(builder.fadd(x, ir.Constant(F32, 0.0)), I32))


ordered = operation("i", "f", _ordered)
"""A float32 as an integer of the same order; both zeros are one."""
unordered = operation("f", "i", lambda builder, x: builder.bitcast(_flipped(builder, x), F32))
smaller = operation("i", "ii", lambda builder, a, b: builder.select(builder.icmp_signed("<", a, b), a, b))


@compiled
def mass(z: float) -> int:
    """exp(z) for z <= 0, in units of 2**-44, rounded: sums of these do not depend on their order."""
    z = z if z > LEAST else LEAST
    shift = z * LOG2_E + MAGIC
    n = shift - MAGIC
    r = (z - n * LN2_HIGH) - n * LN2_LOW
    p = FACTORIALS[12]
    p = p * r + FACTORIALS[11]
    p = p * r + FACTORIALS[10]
    p = p * r + FACTORIALS[9]
    p = p * r + FACTORIALS[8]
    p = p * r + FACTORIALS[7]
    p = p * r + FACTORIALS[6]
    p = p * r + FACTORIALS[5]
    p = p * r + FACTORIALS[4]
    p = p * r + FACTORIALS[3]
    p = p * r + FACTORIALS[2]
    p = p * r + 1.0
    p = p * r + 1.0
    scale = _of_bits((_bits(shift) - MAGIC_BITS + (1023 + UNIT_BITS)) << 52)
    units: int = _bits(p * scale + MAGIC) - MAGIC_BITS
    return units


@compiled
def log(x: float) -> float:
    """Of a positive normal number: x = m * 2**e with m between the roots of 1/2 and 2, and for m the series
    2 * (s + s**3 / 3 + … + s**21 / 21) with s = (m - 1) / (m + 1)."""
    whole = _bits(x)
    e, m = (whole >> 52) - BIAS, _of_bits((whole & MANTISSA) | HALF_BITS)
    if m < ROOT_HALF:
        e, m = e - 1, m + m
    f = m - 1.0
    s = f / (f + 2.0)
    square, total = s * s, ODDS[10]
    for n in range(9, -1, -1):
        total = total * square + ODDS[n]
    result: float = e * LN2 + (s + s) * total
    return result
