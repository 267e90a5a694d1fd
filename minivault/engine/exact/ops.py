"""Single operations that Python has no word for, as numba functions: bits of floats, one rounding, atomics, futexes.

Scalar ones hold no branch, so that loops over them become vectors.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I32, I64, F16, F32 = ir.IntType(32), ir.IntType(64), ir.HalfType(), ir.FloatType()
_TYPES = {"f": types.float32, "i": types.int32, "h": types.uint16}
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)
"""The system call's number (Linux); elsewhere a waiting thread yields instead."""
_WAIT_PRIVATE, _WAKE_PRIVATE = 128, 129

Build = Callable[..., Any]


def named(builder: Any, name: str, kind: Any) -> Any:
    """A function of the module by its name, declared where it is not."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def operation(result: str, operands: str, build: Build) -> Any:
    """A scalar operation as a numba function; `build(builder, *values)` emits it."""
    expected = [_TYPES[letter] for letter in operands]

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return build(builder, *values)

    if len(operands) == 1:
        return intrinsic(lambda _typing, _a: (_TYPES[result](*expected), emit))
    if len(operands) == 2:
        return intrinsic(lambda _typing, _a, _b: (_TYPES[result](*expected), emit))
    return intrinsic(lambda _typing, _a, _b, _c: (_TYPES[result](*expected), emit))


def _fma(builder: Any, *values: Any) -> Any:
    return builder.call(named(builder, "llvm.fma.f32", ir.FunctionType(F32, [F32] * 3)), values)


def _choose(compare: str, relation: str) -> Build:
    return lambda builder, a, b: builder.select(getattr(builder, compare)(relation, a, b), a, b)


fma = operation("f", "fff", _fma)
"""a * b + c, rounded once."""
bits = operation("i", "f", lambda builder, a: builder.bitcast(a, I32))
of_bits = operation("f", "i", lambda builder, a: builder.bitcast(a, F32))
add = operation("i", "ii", lambda builder, a, b: builder.add(a, b))
both = operation("i", "ii", lambda builder, a, b: builder.and_(a, b))
shifted = operation("i", "ii", lambda builder, a, b: builder.shl(a, b))
larger = operation("i", "ii", _choose("icmp_signed", ">"))
at_most = operation("f", "ff", _choose("fcmp_ordered", "<"))
"""The first where it is less, else the second: also where the first is NaN."""
at_least = operation("f", "ff", _choose("fcmp_ordered", ">"))
rounded_to_half = operation("h", "f", lambda builder, a: builder.bitcast(builder.fptrunc(a, F16), ir.IntType(16)))


def element(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """The address of array[index], of a one-dimensional or contiguous array."""
    from numba.np.arrayobj import make_array

    return builder.gep(make_array(kind)(context, builder, array).data, [index])


@intrinsic
def address(_typing: Any, array: Any, _index: Any) -> Any:
    """A pointer to the element `index` of a contiguous array, counted flat."""
    signature = types.CPointer(array.dtype)(array, types.int64)
    return signature, lambda context, builder, signature, values: element(context, builder, signature.args[0], *values)


def _atomic(num_values: int, result: Any, build: Build) -> Any:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = element(context, builder, signature.args[0], *values[:2])
        made = build(builder, place, *values[2:])
        return context.get_dummy_value() if made is None else made

    def declared(array: Any) -> Any:
        return result(array, *[types.int64] * (num_values + 1))

    if num_values == 0:
        return intrinsic(lambda _typing, array, _index: (declared(array), emit))
    if num_values == 1:
        return intrinsic(lambda _typing, array, _index, _a: (declared(array), emit))
    return intrinsic(lambda _typing, array, _index, _a, _b: (declared(array), emit))


def _store(builder: Any, place: Any, value: Any) -> None:
    builder.store_atomic(value, place, "seq_cst", 8)


def _exchange(builder: Any, place: Any, old: Any, new: Any) -> Any:
    return builder.extract_value(builder.cmpxchg(place, old, new, "seq_cst", "seq_cst"), 1)


def _system_call(builder: Any, place: Any, operation: int, value: Any) -> Any:
    if not _FUTEX:
        return builder.sext(builder.call(named(builder, "sched_yield", ir.FunctionType(I32, [])), []), I64)
    call = named(builder, "syscall", ir.FunctionType(I64, [I64], var_arg=True))
    zero = ir.Constant(I64, 0)
    arguments = [ir.Constant(I64, _FUTEX), builder.ptrtoint(place, I64), ir.Constant(I64, operation), value, zero]
    return builder.call(call, [*arguments, zero, zero])


load = _atomic(0, types.int64, lambda builder, place: builder.load_atomic(place, "seq_cst", 8))
store = _atomic(1, types.void, _store)
fetch_add = _atomic(1, types.int64, lambda builder, place, value: builder.atomic_rmw("add", place, value, "seq_cst"))
exchanged = _atomic(2, types.boolean, _exchange)
"""Whether the element was `old` and is `new` now."""
sleep_while = _atomic(1, types.int64, lambda builder, place, value: _system_call(builder, place, _WAIT_PRIVATE, value))
"""Sleep until woken, if the element (its lower half) still is that value."""
wake = _atomic(1, types.int64, lambda builder, place, value: _system_call(builder, place, _WAKE_PRIVATE, value))
"""Wake up to so many who sleep on the element."""


@intrinsic
def pause(_typing: Any) -> Any:
    """Tell the core that we spin."""

    def emit(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        if platform.machine() == "x86_64":
            builder.call(named(builder, "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])), [])
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def borrowed(_typing: Any, value: Any) -> Any:
    """A tuple, with the tuples in it, whose arrays nobody counts references of: threads would fight for the counts.
    For as long as the caller holds the original."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _uncounted(context, builder, signature.args[0], values[0])

    return value(value), emit


def _uncounted(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    from numba.np.arrayobj import make_array

    if isinstance(kind, types.Array):
        array = make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        return array._getvalue()
    for index, part in enumerate(kind.types if isinstance(kind, types.BaseTuple) else ()):
        taken = _uncounted(context, builder, part, builder.extract_value(value, index))
        value = builder.insert_value(value, taken, index)
    return value
