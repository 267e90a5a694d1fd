"""A row as int8 with a scale for every 32 numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from minivault.engine.exact.compiling import part
from minivault.engine.exact.emitting import I8, Emitter, vector
from minivault.engine.exact.maths import MAGIC
from minivault.engine.exact.ops import F32, I32, element, instruction, named
from minivault.engine.exact.scratch import Quantized

LEAST = int(np.float32(1e-30).view(np.int32))
"""The bits of the smallest magnitude that a group is scaled by; all below becomes zeros."""


def _group_of_32(*arguments: Any) -> Any:
    """Vectors of no kind: any CPU has its own way to do these, and none rounds another way."""

    def emit(context: Any, b: Any, signature: Any, values: Any) -> Any:
        arrays = zip(signature.args[::2], values[::2], values[1::2], strict=True)
        x, codes, sums = (element(context, b, *array) for array in arrays)
        e = Emitter(b, 32)

        def reduced(name: str, ints: Any) -> Any:
            full = f"llvm.vector.reduce.{name}.v{ints.type.count}i32"
            return b.call(named(b, full, ir.FunctionType(I32, [ints.type])), [ints])

        numbers = e.load(x, e.floats)
        top = reduced("smax", b.and_(b.bitcast(numbers, e.ints), e.constant(e.ints, 0x7FFFFFFF)))
        most = b.bitcast(b.select(b.icmp_signed(">", top, I32(LEAST)), top, I32(LEAST)), F32)
        factor, magic = b.fdiv(F32(127.0), most), e.constant(e.floats, float(MAGIC))
        rounded = b.bitcast(b.fadd(b.fmul(numbers, e.splat(factor)), magic), e.ints)
        whole = b.sub(rounded, b.bitcast(magic, e.ints))
        e.store(b.trunc(whole, vector(I8, 32)), codes)
        for half in range(2):
            places = ir.Constant(vector(I32, 16), [*range(16 * half, 16 * half + 16)])
            of_half = b.shuffle_vector(whole, ir.Constant(e.ints, ir.Undefined), places)
            b.store(reduced("add", of_half), e.at(sums, half))
        return most

    return types.float32(*arguments), emit


_quantized = instruction(6, _group_of_32)
"""Codes of 32 numbers and the sums of either half's, each array followed by the place in it; the largest |x|."""


@part
def quantize(x: Any, r: int, start: int, stop: int, out: Quantized, times: float) -> None:
    """Row r of `out`, inputs [start, stop), whole groups of 32: code = x * (127 / largest |x|), rounded.

    It stands for `times` x."""
    codes, sums = r * out.codes.shape[1], r * out.half_sums.shape[1]
    for g in range(start // 32, stop // 32):
        most = _quantized(x, g * 32, out.codes, codes + g * 32, out.half_sums, sums + 2 * g)
        total = out.half_sums[r, 2 * g] + out.half_sums[r, 2 * g + 1]
        scale = most / np.float32(127) * np.float32(times)
        out.scales[r, g] = scale
        out.sums[r, g] = total
        out.scaled_sums[r, g] = scale * np.float32(total)
