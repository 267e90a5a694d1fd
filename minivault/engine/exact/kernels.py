"""The one place that knows SIMD: integer products of weights and activations, and sums of float16 rows.

Every lane is an output of its own, so no sum crosses lanes and any width gives the bits of `reference`'s loops. A kind
of kernel is a type: numba compiles, and caches, a version of all code for each. It holds the float16 table that
`Plain` needs where a CPU cannot convert.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from minivault.engine.exact import reference
from minivault.engine.exact.compiling import OPTIONS
from minivault.engine.exact.formats import Format
from minivault.engine.exact.ops import F16, F32, I32, I64, address, named, rounded_to_half

I8, I16 = ir.IntType(8), ir.IntType(16)
BLOCK = 16
"""Weight rows that lie side by side."""
AHEAD = 2048
"""Bytes of weights to ask memory for in advance: worth 1.4 times where no cache holds them."""


class Plain(NamedTuple):
    """Loops, for any CPU."""

    halves: NDArray[np.float32]


class Avx2(NamedTuple):
    """8 lanes; products of pairs in 16 bits, which eight of a nibble and an int8 cannot leave."""

    halves: NDArray[np.float32]


class Vnni256(NamedTuple):
    """8 lanes; four products at once into 32 bits (AVX-VNNI or AVX-512-VNNI)."""

    halves: NDArray[np.float32]


class Vnni512(NamedTuple):
    """16 lanes of the same."""

    halves: NDArray[np.float32]


Kind = Plain | Avx2 | Vnni256 | Vnni512


@dataclass(frozen=True)
class Lanes:
    """How a kind works: lanes of 32 bits, whether four bytes are multiplied at once, floats that `combine` takes at
    once of a row."""

    num: int
    has_vnni: bool
    width: int


LANES = {Avx2: Lanes(8, False, 16), Vnni256: Lanes(8, True, 16), Vnni512: Lanes(16, True, 32)}
_NEEDS = {
    Vnni512: {"avx512_vnni", "avx512bw", "avx512vl", "avx2", "fma", "f16c"},
    Vnni256: {"avx_vnni", "avx2", "fma", "f16c"},
    Avx2: {"avx2", "fma", "f16c"},
    Plain: set[str](),
}


def kinds(flags: Iterable[str]) -> list[type[Kind]]:
    """The kinds that a CPU with these flags (Linux's names) can run, the quickest first."""
    has = set(flags)
    if "avx512_vnni" in has and "avx512vl" in has:
        has.add("avx_vnni")  # the same instruction in another encoding
    return [kind for kind, needs in _NEEDS.items() if needs <= has]


def made(kind: type[Kind]) -> Kind:
    return kind(np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32))


def _vector(kind: Any, num: int) -> Any:
    return ir.VectorType(kind, num)


_QUADS = binding.llvm_version_info[0] >= 21
"""LLVM's four-byte products take bytes since 21, before that 32-bit numbers."""


class _Emitter:
    """LLVM instructions over vectors of `num` 32-bit lanes."""

    def __init__(self, builder: Any, num: int) -> None:
        self.b, self.num = builder, num
        self.floats, self.ints = _vector(F32, num), _vector(I32, num)
        self.bytes, self.shorts = _vector(I8, 4 * num), _vector(I16, 2 * num)
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
        return self.b.fpext(self.load(pointer, _vector(F16, self.num)), self.floats)

    def splat(self, value: Any) -> Any:
        one = self.b.insert_element(ir.Constant(_vector(value.type, self.num), ir.Undefined), value, I32(0))
        zeros = ir.Constant(_vector(I32, self.num), [0] * self.num)
        return self.b.shuffle_vector(one, ir.Constant(one.type, ir.Undefined), zeros)

    def splat_at(self, pointer: Any) -> Any:
        return self.splat(self.b.load(pointer))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.b.call(self.fused, [a, b, c])

    def constant(self, kind: Any, value: int) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    def prefetch(self, pointer: Any) -> None:
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        self.b.call(named(self.b, "llvm.prefetch.p0", kind), [pointer, I32(0), I32(3), I32(1)])

    def loop(self, count: Any, starts: list[Any]) -> _Loop:
        return _Loop(self.b, count, starts)


class _Loop:
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


class _Products:
    """Integer sums of products over one group of inputs, for m activation rows and `num` weight rows.

    A nibble's products with int8 fit 16 bits eight times (15 * 127 * 2 * 8 = 30,480), so a CPU without four-byte
    products adds all 32 inputs there; bytes are then two nibbles. Few rows add in several chains, not to wait."""

    def __init__(self, emitter: _Emitter, lanes: Lanes, form: Format, m: int) -> None:
        self.e, self.has_vnni, self.form, self.m = emitter, lanes.has_vnni, form, m
        self.chains = max(1, 4 // m)
        self.num_parts = 2 if form.bits == 8 and not lanes.has_vnni else 1
        kind = emitter.ints if lanes.has_vnni else emitter.shorts
        self.zero = ir.Constant(kind, None)
        self.sums = [[[None] * self.chains for _ in range(self.num_parts)] for _ in range(m)]
        self.turn = 0

    def add(self, row: int, part: int, codes: Any, x: Any) -> None:
        """Add the products of 4 codes in each lane with 4 activations."""
        e, chain = self.e, self.turn % self.chains
        before = self.sums[row][part][chain]
        self.sums[row][part][chain] = self._product(self.zero if before is None else before, codes, e.splat(x))

    def _product(self, before: Any, codes: Any, x: Any) -> Any:
        e, b = self.e, self.e.b
        if self.has_vnni:
            operand = e.bytes if _QUADS else e.ints
            name = f"llvm.x86.avx512.vpdpbusd.{32 * e.num}"
            dot = named(b, name, ir.FunctionType(e.ints, [e.ints, operand, operand]))
            return b.call(dot, [before, b.bitcast(codes, operand), b.bitcast(x, operand)])
        pairs = named(b, "llvm.x86.avx2.pmadd.ub.sw", ir.FunctionType(e.shorts, [e.bytes, e.bytes]))
        return b.add(before, b.call(pairs, [codes, b.bitcast(x, e.bytes)]))

    def totals(self, row: int, start: Any) -> Any:
        """`start` plus all sums of a row, as 32-bit lanes."""
        b, e, total = self.e.b, self.e, start
        for part, chains in enumerate(self.sums[row]):
            used = [chain for chain in chains if chain is not None]
            added = used[0]
            for chain in used[1:]:
                added = b.add(added, chain)
            if not self.has_vnni:
                pairs = named(b, "llvm.x86.avx2.pmadd.wd", ir.FunctionType(e.ints, [e.shorts, e.shorts]))
                added = b.call(pairs, [added, e.constant(e.shorts, 16 if part else 1)])
            total = added if total is None else b.add(total, added)
        return total


def _nibbles(e: _Emitter, packed: Any) -> tuple[Any, Any]:
    low = e.constant(e.bytes, 15)
    high = e.b.bitcast(e.b.lshr(e.b.bitcast(packed, e.shorts), e.constant(e.shorts, 4)), e.bytes)
    return e.b.and_(packed, low), e.b.and_(high, low)


def _tile(lanes: Lanes, form: Format, m: int) -> Any:
    """`lanes.num` weight rows against m activation rows: `reference.accumulate` over that tile.

    Pointers to the block's codes, scales and minima at the tile's first lane; to the activations' codes, scales,
    scaled sums and sums at its first row, with the distances between rows; to the outputs."""
    num, size = lanes.num, 16 if form.group == 16 else 32

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        codes, scales, minima, zero, x, x_row, t, u, t_row, s, s_row, count, y, y_row = values
        e = _Emitter(builder, num)
        rows = [
            tuple(e.at(base, builder.mul(step, I64(i))) for base, step in ((x, x_row), (t, t_row), (u, t_row), (s, s_row), (y, y_row)))
            for i in range(m)
        ]
        loop = e.loop(count, [e.load(row[4], e.floats) for row in rows])
        totals = list(loop.values)
        negative = builder.trunc(builder.neg(zero), I32)
        for part in range(32 // size):
            group = e.b.add(e.times(loop.index, 32 // size), I64(part))
            products = _Products(e, lanes, form, m)
            _pieces(e, products, codes, [row[0] for row in rows], loop.index, range(part * size, (part + 1) * size))
            scale = e.halves(e.at(scales, e.times(group, BLOCK)))
            low = e.halves(e.at(minima, e.times(group, BLOCK))) if form.has_minima else None
            for i, (_, row_t, row_u, row_s, _) in enumerate(rows):
                start = None if low is not None else e.splat(builder.mul(negative, builder.load(e.at(row_s, group))))
                whole = builder.sitofp(products.totals(i, start), e.floats)
                factor = builder.fmul(scale, e.splat_at(e.at(row_t, loop.index)))
                totals[i] = e.fma(whole, factor, totals[i])
                if low is not None:
                    totals[i] = e.fma(low, e.splat_at(e.at(row_u, loop.index)), totals[i])
        loop.end(totals)
        for row, total in zip(rows, totals, strict=True):
            e.store(total, row[4])
        return context.get_dummy_value()

    @intrinsic
    def tile(_typing, codes, scales, minima, zero, x, x_row, t, u, t_row, s, s_row, count, y, y_row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        floats, number = types.CPointer(types.float32), types.int64
        weights = (types.CPointer(types.uint8), *[types.CPointer(types.uint16)] * 2, number)
        inputs = (types.CPointer(types.int8), number, floats, floats, number, types.CPointer(types.int32), number)
        return types.void(*weights, *inputs, number, floats, number), emit

    return tile


def _pieces(e: _Emitter, products: _Products, codes: Any, x: list[Any], index: Any, inputs: range) -> None:
    """All products of these inputs of group `index`, 64 bytes of a block's codes at a time."""
    per_piece = 64 * 8 // (BLOCK * products.form.bits)
    first = e.times(index, 32 * 64 // per_piece)
    for place in range(inputs.start, inputs.stop, per_piece):
        here = e.at(codes, first, place // per_piece * 64)
        e.prefetch(e.at(here, AHEAD))
        packed = e.load(here, e.bytes)
        split = products.form.bits == 4 or products.num_parts == 2
        pieces = _nibbles(e, packed) if split else (packed,)
        for row, start in enumerate(x):
            for part, piece in enumerate(pieces):
                shift = 4 * part if products.form.bits == 4 else 0
                value = e.load(e.at(start, e.times(index, 32), place + shift), I32)
                products.add(row, part if products.num_parts == 2 else 0, piece, value)
        products.turn += 1


def accumulator(form: Format) -> Any:
    """`accumulate(kind, …)` for weights of a format: see `reference.accumulate`, whose arguments it has."""

    def accumulate(kind, weights, codes, scales, minima, zero, count, x, t, u, s, r0, r1, n0, n1, y, c):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        raise NotImplementedError

    @overload(accumulate, jit_options=OPTIONS)
    def choose(kind, weights, codes, scales, minima, zero, count, x, t, u, s, r0, r1, n0, n1, y, c):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if kind.instance_class is Plain:
            return reference.accumulator(form)
        return _simd(LANES[kind.instance_class], form)

    return accumulate


def _simd(lanes: Lanes, form: Format) -> Any:
    num, code_bytes, groups = lanes.num, form.bits * 64, 32 // form.group
    eight, four, two, one = (_tile(lanes, form, m) for m in (8, 4, 2, 1))

    def accumulate(kind, weights, codes, scales, minima, zero, count, x, t, u, s, r0, r1, n0, n1, y, c):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        xw, tw, yw = x.shape[1], t.shape[1], y.shape[1]
        sw = s.shape[1]
        for n in range(n0, n1, num):
            block, lane = n // BLOCK, n % BLOCK
            w = address(weights.bytes, codes + block * count * code_bytes + 4 * lane)
            d = address(weights.halves, scales + block * count * groups * BLOCK + lane)
            m = address(weights.halves, minima + block * count * groups * BLOCK + lane)
            r = r0
            while r < r1:
                px, pt, pu = address(x, r * xw), address(t, r * tw), address(u, r * tw)
                ps, py = address(s, r * sw), address(y, r * yw + c + n)
                if r1 - r >= 8:
                    eight(w, d, m, zero, px, xw, pt, pu, tw, ps, sw, count, py, yw)
                    r += 8
                elif r1 - r >= 4:
                    four(w, d, m, zero, px, xw, pt, pu, tw, ps, sw, count, py, yw)
                    r += 4
                elif r1 - r >= 2:
                    two(w, d, m, zero, px, xw, pt, pu, tw, ps, sw, count, py, yw)
                    r += 2
                else:
                    one(w, d, m, zero, px, xw, pt, pu, tw, ps, sw, count, py, yw)
                    r += 1

    return accumulate


def combine(kind, a, a0, a_row, num, rows, first, stride, count, width, out, o0, o_row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """See `reference.combine`."""
    raise NotImplementedError


@overload(combine, jit_options=OPTIONS)
def _combine(kind, a, a0, a_row, num, rows, first, stride, count, width, out, o0, o_row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if kind.instance_class is Plain:
        return reference.combine
    lanes = LANES[kind.instance_class]
    step = lanes.width
    sums = [_weighted_sum(width, m) for width in (16, step) for m in (6, 4, 3, 2, 1)]
    n6, n4, n3, n2, n1, w6, w4, w3, w2, w1 = sums

    def simd(kind, a, a0, a_row, num, rows, first, stride, count, width, out, o0, o_row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        at = 0
        while at < width:
            wide = width - at >= step
            r, j = address(rows, first + at), 0
            while j < num:
                left = num - j
                m = 6 if left >= 6 else 4 if left >= 4 else left
                pa, po = address(a, a0 + j * a_row), address(out, o0 + j * o_row + at)
                if wide:
                    if m == 6:
                        w6(pa, a_row, r, stride, count, po, o_row)
                    elif m == 4:
                        w4(pa, a_row, r, stride, count, po, o_row)
                    elif m == 3:
                        w3(pa, a_row, r, stride, count, po, o_row)
                    elif m == 2:
                        w2(pa, a_row, r, stride, count, po, o_row)
                    else:
                        w1(pa, a_row, r, stride, count, po, o_row)
                elif m == 6:
                    n6(pa, a_row, r, stride, count, po, o_row)
                elif m == 4:
                    n4(pa, a_row, r, stride, count, po, o_row)
                elif m == 3:
                    n3(pa, a_row, r, stride, count, po, o_row)
                elif m == 2:
                    n2(pa, a_row, r, stride, count, po, o_row)
                else:
                    n1(pa, a_row, r, stride, count, po, o_row)
                j += m
            at += step if wide else 16

    return simd


def _weighted_sum(width: int, m: int) -> Any:
    """out[j, :width] += a[j, k] * rows[k, :width] for each k in turn, for m rows of `out`."""

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        a, a_row, rows, stride, count, out, out_row = values
        e = _Emitter(builder, width)
        factors = [e.at(a, e.times(a_row, j)) for j in range(m)]
        outs = [e.at(out, e.times(out_row, j)) for j in range(m)]
        loop = e.loop(count, [e.load(place, e.floats) for place in outs])
        row = e.halves(e.at(rows, builder.mul(loop.index, stride)))
        totals = [e.fma(e.splat_at(e.at(factors[j], loop.index)), row, loop.values[j]) for j in range(m)]
        loop.end(totals)
        for total, place in zip(totals, outs, strict=True):
            e.store(total, place)
        return context.get_dummy_value()

    @intrinsic
    def weighted_sum(_typing, a, a_row, rows, stride, count, out, out_row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        floats, number = types.CPointer(types.float32), types.int64
        return types.void(floats, number, types.CPointer(types.uint16), number, number, floats, number), emit

    return weighted_sum


def half(kind, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """See `reference.half`."""
    raise NotImplementedError


@overload(half, jit_options=OPTIONS)
def _half(kind, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if kind.instance_class is Plain:
        return reference.half
    return lambda kind, x: rounded_to_half(x)
