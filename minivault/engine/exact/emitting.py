"""LLVM instructions over vectors, as the kernels need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils

from minivault.engine.exact.ops import F16, F32, I32, I64, named

I8, I16 = ir.IntType(8), ir.IntType(16)


def vector(kind: Any, num: int) -> Any:
    return ir.VectorType(kind, num)


QUADS = binding.llvm_version_info[0] >= 21
"""LLVM's four-byte products take bytes since 21, before that 32-bit numbers."""


class Emitter:
    """LLVM instructions over vectors of `num` 32-bit lanes."""

    def __init__(self, builder: Any, num: int) -> None:
        self.b, self.num = builder, num
        self.floats, self.ints = vector(F32, num), vector(I32, num)
        self.bytes, self.shorts = vector(I8, 4 * num), vector(I16, 2 * num)
        self.fused = named(builder, f"llvm.fma.v{num}f32", ir.FunctionType(self.floats, [self.floats] * 3))

    def at(self, pointer: Any, *offsets: Any) -> Any:
        for offset in offsets:
            pointer = self.b.gep(pointer, [I64(offset) if isinstance(offset, int) else offset])
        return pointer

    def times(self, value: Any, factor: int) -> Any:
        return self.b.mul(value, I64(factor))

    def load(self, pointer: Any, kind: Any) -> Any:
        return self.b.load(self.b.bitcast(pointer, kind.as_pointer()), align=1)

    def store(self, value: Any, pointer: Any) -> None:
        self.b.store(value, self.b.bitcast(pointer, value.type.as_pointer()), align=1)

    def halves(self, pointer: Any) -> Any:
        return self.b.fpext(self.load(pointer, vector(F16, self.num)), self.floats)

    def rounded(self, values: Any) -> Any:
        """To the nearest float16, ties to even."""
        return self.b.fpext(self.b.fptrunc(values, vector(F16, self.num)), self.floats)

    def small_ints(self, pointer: Any) -> Any:
        """int8 numbers as floats."""
        return self.b.sitofp(self.load(pointer, vector(I8, self.num)), self.floats)

    def splat(self, value: Any) -> Any:
        one = self.b.insert_element(ir.Constant(vector(value.type, self.num), ir.Undefined), value, I32(0))
        zeros = ir.Constant(vector(I32, self.num), [0] * self.num)
        return self.b.shuffle_vector(one, ir.Constant(one.type, ir.Undefined), zeros)

    def repeated(self, sixteen: Any) -> Any:
        """16 bytes, as often as `bytes` has room for them."""
        places = ir.Constant(vector(I32, 4 * self.num), [index % 16 for index in range(4 * self.num)])
        return self.b.shuffle_vector(sixteen, ir.Constant(sixteen.type, ir.Undefined), places)

    def looked_up(self, table: Any, codes: Any) -> Any:
        """For each code below 16 its byte of a `repeated` table."""
        name = "llvm.x86.avx512.pshuf.b.512" if self.num == 16 else "llvm.x86.avx2.pshuf.b"
        return self.b.call(named(self.b, name, ir.FunctionType(self.bytes, [self.bytes] * 2)), [table, codes])

    def splat_at(self, pointer: Any) -> Any:
        return self.splat(self.b.load(pointer))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.b.call(self.fused, [a, b, c])

    def constant(self, kind: Any, value: float) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    def prefetch(self, pointer: Any) -> None:
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        self.b.call(named(self.b, "llvm.prefetch.p0", kind), [pointer, I32(0), I32(3), I32(1)])

    def loop(self, count: Any, starts: list[Any]) -> Loop:
        return Loop(self.b, count, starts)


class Loop:
    """`index` from 0 to count - 1 (at least once) with values carried from one round to the next."""

    def __init__(self, builder: Any, count: Any, starts: list[Any]) -> None:
        self.b, self.count, before = builder, count, builder.block
        self.body, self.after = (builder.append_basic_block(name) for name in ("body", "after"))
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.index = builder.phi(I64)
        self.index.add_incoming(I64(0), before)
        self.values = [builder.phi(start.type) for start in starts]
        for value, start in zip(self.values, starts, strict=True):
            value.add_incoming(start, before)

    def end(self, values: list[Any]) -> None:
        following = self.b.add(self.index, I64(1))
        self.index.add_incoming(following, self.b.block)
        for value, new in zip(self.values, values, strict=True):
            value.add_incoming(new, self.b.block)
        self.b.cbranch(self.b.icmp_signed("<", following, self.count), self.body, self.after)
        self.b.position_at_end(self.after)


def in_sizes(builder: Any, count: Any, sizes: tuple[int, ...], emit: Callable[[Any, int], None]) -> None:
    """Code that goes through `count` things, the largest of `sizes` at a time: `emit(first, size)` for each."""
    done = cgutils.alloca_once_value(builder, I64(0))
    for size in sizes:
        test, body, after = (builder.append_basic_block(name) for name in ("test", "some", "rest"))
        builder.branch(test)
        builder.position_at_end(test)
        first = builder.load(done)
        builder.cbranch(builder.icmp_signed(">=", builder.sub(count, first), I64(size)), body, after)
        builder.position_at_end(body)
        emit(first, size)
        builder.store(builder.add(first, I64(size)), done)
        builder.branch(test)
        builder.position_at_end(after)
