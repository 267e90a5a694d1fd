"""Single operations that Python has no word for, as numba functions: bits of floats, one rounding, atomics, futexes.

Scalar ones hold no branch, so that loops over them become vectors.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minivault.engine.exact.compiling import inlined

I32, I64, F16, F32 = ir.IntType(32), ir.IntType(64), ir.HalfType(), ir.FloatType()
_TYPES = {"f": types.float32, "i": types.int32, "h": types.uint16}
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)
"""The system call's number (Linux); elsewhere a waiting thread yields instead."""
_WAIT_PRIVATE, _WAKE_PRIVATE = 128, 129

Build = Callable[..., Any]


def named(builder: Any, name: str, kind: Any) -> Any:
    """A function of the module by its name, declared where it is not."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def instruction(num: int, typed: Callable[..., Any]) -> Any:
    """An intrinsic of `num` arguments: `typed(*their types)` gives its signature and what emits it."""

    def definition(_typing: Any, *given: Any) -> Any:
        return typed(*given)

    names = ["typing", *(f"argument_{i}" for i in range(num))]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    definition.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return intrinsic(definition)


def operation(result: str, operands: str, build: Build) -> Any:
    """A scalar operation as a numba function; `build(builder, *values)` emits it."""
    expected = [_TYPES[letter] for letter in operands]

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return build(builder, *values)

    return instruction(len(operands), lambda *_operands: (_TYPES[result](*expected), emit))


def _fma(builder: Any, *values: Any) -> Any:
    return builder.call(named(builder, "llvm.fma.f32", ir.FunctionType(F32, [F32] * 3)), values)


def _choose(compare: str, relation: str) -> Build:
    return lambda builder, a, b: builder.select(getattr(builder, compare)(relation, a, b), a, b)


fma = operation("f", "fff", _fma)
"""a * b + c, rounded once."""
bits = operation("i", "f", lambda builder, a: builder.bitcast(a, I32))
of_bits = operation("f", "i", lambda builder, a: builder.bitcast(a, F32))
add = operation("i", "ii", lambda builder, a, b: builder.add(a, b))
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


def _address(array: Any, _index: Any) -> Any:
    signature = types.CPointer(array.dtype)(array, types.int64)
    return signature, lambda context, builder, signature, values: element(context, builder, signature.args[0], *values)


address = instruction(2, _address)
"""A pointer to an element of a contiguous array, by its index counted flat."""


def _atomic(num_values: int, result: Any, build: Build) -> Any:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = element(context, builder, signature.args[0], *values[:2])
        made = build(builder, place, *values[2:])
        return context.get_dummy_value() if made is None else made

    return instruction(num_values + 2, lambda array, *_: (result(array, *[types.int64] * (num_values + 1)), emit))


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


def _prefetch(array: Any, _index: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = element(context, builder, signature.args[0], *values)
        kind = ir.FunctionType(ir.VoidType(), [place.type, I32, I32, I32])
        builder.call(named(builder, "llvm.prefetch.p0", kind), [place, I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), emit


prefetch = instruction(2, _prefetch)
"""Ask memory for the line that holds an element."""


def _pause() -> Any:
    def emit(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        if platform.machine() == "x86_64":
            builder.call(named(builder, "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])), [])
        return context.get_dummy_value()

    return types.void(), emit


pause = instruction(0, _pause)
"""Tell the core that we spin."""


@inlined
def copy(values: Any, to: Any) -> None:
    """to[: len(values)] = values, one-dimensional arrays that do not overlap."""
    for k in range(len(values)):
        to[k] = values[k]
