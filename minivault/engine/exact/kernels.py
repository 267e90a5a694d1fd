"""The one place that knows SIMD: integer products of weights and activations, and sums of float16 rows.

Every lane is an output of its own, so no sum crosses lanes and any width gives the bits of `reference`'s loops.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from minivault.engine.exact import reference
from minivault.engine.exact.compiling import OF_PART
from minivault.engine.exact.emitting import Emitter, in_sizes
from minivault.engine.exact.formats import Format
from minivault.engine.exact.kinds import LANES, Lanes, Plain
from minivault.engine.exact.ops import F32, I32, I64, address, instruction, rounded_to_half
from minivault.engine.exact.products import Levels, Products, multiply
from minivault.engine.exact.tensors import CODES, COUNT, LEVELS, MINIMA, SCALES, STEPS, ZERO
from minivault.engine.exact.weights import BLOCK


def _tiles(lanes: Lanes, form: Format) -> Any:
    """`lanes.num` weight rows against any activation rows, so many at once as registers hold.

    Takes pointers to a block's codes, scales, minima and steps (or the levels) at the first lane, the zero and the
    number of 32 inputs; to the activations' codes, scales, scaled sums and sums at the first row, and to the outputs,
    with the distances between rows; and how many rows."""

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        *weights, x, x_row, t, u, t_row, s, s_row, y, y_row, num_rows = values
        e, steps = Emitter(builder, lanes.num), ((x, x_row), (t, t_row), (u, t_row), (s, s_row), (y, y_row))

        def one(first: Any, m: int) -> None:
            places = [builder.add(first, I64(i)) for i in range(m)]
            rows = [tuple(e.at(base, builder.mul(step, place)) for base, step in steps) for place in places]
            _tile(e, lanes, form, weights, rows)

        has_room = lanes.num == 16 and form.group == 32  # AVX-512 has twice the registers; two groups' codes fill them
        in_sizes(builder, num_rows, (16, 8, 4, 2, 1) if has_room else (8, 4, 2, 1), one)
        return context.get_dummy_value()

    pointer: Any = types.CPointer
    number = types.int64
    floats, halves = pointer(types.float32), pointer(types.uint16)
    weights = (pointer(types.uint8), halves, halves, pointer(types.uint8), number, number)
    inputs = (pointer(types.int8), number, floats, floats, number, pointer(types.int32), number)
    signature = types.void(*weights, *inputs, floats, number, number)

    return instruction(len(signature.args), lambda *_: (signature, emit))


def _tile(e: Emitter, lanes: Lanes, form: Format, weights: list[Any], rows: list[tuple[Any, ...]]) -> None:
    """`reference.accumulate` over a tile."""
    codes, scales, minima, steps, zero, count = weights
    size, b, levels = form.group, e.b, Levels(e, lanes, steps) if form.has_levels else None
    loop = e.loop(count, [e.load(row[4], e.floats) for row in rows])
    totals, negative = list(loop.values), e.splat(b.and_(b.trunc(b.neg(zero), I32), I32(0xFFFF)))
    for part in range(32 // size):
        group = b.add(e.times(loop.index, 32 // size), I64(part))
        products = Products(e, lanes, form, len(rows), levels)
        multiply(e, products, codes, [row[0] for row in rows], loop.index, range(part * size, (part + 1) * size))
        scale = _factor(e, form, scales, steps, loop.index, group)
        after = e.at(steps, BLOCK)
        low = _factor(e, form, minima, after, loop.index, group) if form.has_minima else None
        for i, (_, t, u, s, _) in enumerate(rows):
            start = None if low is not None else products.scaled(e.splat_at(e.at(s, group)), negative)
            whole = b.sitofp(products.totals(i, start), e.floats)
            totals[i] = e.fma(whole, b.fmul(scale, e.splat_at(e.at(t, loop.index))), totals[i])
            if low is not None:
                in_group = b.load(e.at(u, loop.index)) if size == 32 else _scaled_sum(e, t, s, loop.index, group)
                totals[i] = e.fma(low, e.splat(in_group), totals[i])
    loop.end(totals)
    for row, total in zip(rows, totals, strict=True):
        e.store(total, row[4])


def _factor(e: Emitter, form: Format, factors: Any, steps: Any, index: Any, group: Any) -> Any:
    """Scales or minima of a group, which is one of 32 inputs `index`."""
    if not form.is_nested:
        return e.halves(e.at(factors, e.times(group, BLOCK)))
    of_256 = e.times(e.b.lshr(index, I64(3)), BLOCK)
    step = e.small_ints(e.at(steps, e.times(group, BLOCK * form.num_factors)))
    return e.rounded(e.b.fmul(e.halves(e.at(factors, of_256)), step))


def _scaled_sum(e: Emitter, t: Any, s: Any, index: Any, group: Any) -> Any:
    """Of half a group of activations: its scale times its sum."""
    return e.b.fmul(e.b.load(e.at(t, index)), e.b.sitofp(e.b.load(e.at(s, group)), F32))


def accumulator(form: Format) -> Any:
    """`accumulate(kind, …)` for weights of a format, with the arguments of `reference.accumulator`'s."""

    def accumulate(kind: Any, w: Any, f: Any, z: Any, r0: int, r1: int, n0: int, n1: int, y: Any, c: int) -> None:
        raise NotImplementedError

    @overload(accumulate, jit_options=OF_PART, strict=False)
    def choose(kind: Any, *_arguments: Any) -> Any:
        if kind.instance_class is Plain:
            return reference.accumulator(form)
        return _simd(LANES[kind.instance_class], form)

    return accumulate


def _simd(lanes: Lanes, form: Format) -> Any:
    num, code_bytes, groups, is_nested = lanes.num, form.bits * 64, 32 // form.group, form.is_nested
    tiles, by_16, factors, has_levels = _tiles(lanes, form), form.group == 16, form.num_factors, form.has_levels

    def accumulate(kind: Any, w: Any, f: Any, z: Any, r0: int, r1: int, n0: int, n1: int, y: Any, c: int) -> None:  # noqa: ARG001
        x, t, u, s = z.codes, z.scales, z.scaled_sums, z.half_sums if by_16 else z.sums
        x_row, t_row, s_row, y_row, count = x.shape[1], t.shape[1], s.shape[1], y.shape[1], f[COUNT]
        for n in range(n0, n1, num):
            block, lane = n // BLOCK * count, n % BLOCK
            codes = address(w.bytes, f[CODES] + block * code_bytes + 4 * lane)
            before = block // 8 if is_nested else block * groups
            scales = address(w.halves, f[SCALES] + before * BLOCK + lane)
            minima = address(w.halves, f[MINIMA] + before * BLOCK + lane)
            at_steps = f[LEVELS] if has_levels else f[STEPS] + block * groups * factors * BLOCK + lane
            steps = address(w.bytes, at_steps)
            px, pt, pu, ps = (
                address(x, r0 * x_row),
                address(t, r0 * t_row),
                address(u, r0 * t_row),
                address(s, r0 * s_row),
            )
            py = address(y, r0 * y_row + c + n)
            tiles(codes, scales, minima, steps, f[ZERO], count, px, x_row, pt, pu, t_row, ps, s_row, py, y_row, r1 - r0)

    return accumulate


def combine(kind: Any, a: Any, a0: int, a_row: int, num: int, rows: Any, first: int, stride: int, count: int,
            width: int, out: Any, o0: int, o_row: int) -> None:  # fmt: skip
    """See `reference.combine`."""
    raise NotImplementedError


@overload(combine, jit_options=OF_PART, strict=False)
def _combine(kind: Any, *_arguments: Any) -> Any:
    if kind.instance_class is Plain:
        return reference.combine
    step = LANES[kind.instance_class].width
    wide, narrow = _weighted_sums(step), _weighted_sums(BLOCK)

    def simd(kind: Any, a: Any, a0: int, a_row: int, num: int, rows: Any, first: int, stride: int, count: int,  # noqa: ARG001
             width: int, out: Any, o0: int, o_row: int) -> None:  # fmt: skip
        whole = width // step * step
        for at in range(0, whole, step):
            wide(address(a, a0), a_row, address(rows, first + at), stride, count, address(out, o0 + at), o_row, num)
        for at in range(whole, width, BLOCK):
            narrow(address(a, a0), a_row, address(rows, first + at), stride, count, address(out, o0 + at), o_row, num)

    return simd


def _weighted_sums(width: int) -> Any:
    """out[j, :width] += a[j, k] * rows[k, :width] for each k in turn, for `num` rows of `out`, up to six at once."""

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        a, a_row, rows, stride, count, out, out_row, num = values
        e = Emitter(builder, width)

        def some(first: Any, m: int) -> None:
            places = [builder.add(first, I64(j)) for j in range(m)]
            factors, outs = (
                [e.at(base, builder.mul(step, place)) for place in places]
                for base, step in ((a, a_row), (out, out_row))
            )
            loop = e.loop(count, [e.load(place, e.floats) for place in outs])
            row = e.halves(e.at(rows, builder.mul(loop.index, stride)))
            factor = [e.splat_at(e.at(place, loop.index)) for place in factors]
            totals = [e.fma(one, row, total) for one, total in zip(factor, loop.values, strict=True)]
            loop.end(totals)
            for total, place in zip(totals, outs, strict=True):
                e.store(total, place)

        in_sizes(builder, num, (6, 4, 3, 2, 1), some)
        return context.get_dummy_value()

    number, floats = types.int64, types.CPointer(types.float32)
    signature = types.void(floats, number, types.CPointer(types.uint16), number, number, floats, number, number)

    return instruction(len(signature.args), lambda *_: (signature, emit))


def half(kind: Any, x: Any) -> Any:
    """See `reference.half`."""
    raise NotImplementedError


def _half_by_the_cpu(kind: Any, x: Any) -> Any:  # noqa: ARG001
    return rounded_to_half(x)


@overload(half, jit_options=OF_PART, strict=False)
def _half(kind: Any, *_arguments: Any) -> Any:
    return reference.half if kind.instance_class is Plain else _half_by_the_cpu
