"""How the work of a phase is cut into units, which any thread may do in any order.

Each of these makes a phase of what does a part of it: a compiled function. It is not handed over in a call, since numba
keeps no machine code that holds a function as a value. A phase takes `given` for it besides; a thread is told by its
number where it needs memory of its own. All return False if the step was over before we came.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact import threads
from minivault.engine.exact.compiling import part
from minivault.engine.exact.tensors import Model

ROW_BLOCK = 64
"""Rows of a unit: their activations stay near while weights pass."""


def shared(do: Any) -> Any:
    """`do(m, unit, *given)` for every unit, each by whoever is free."""

    @part
    def phase_of_units(m: Model, phase: int, step: int, units: int, given: Any) -> bool:
        while True:
            unit = threads.take(m.board, phase, step, units)
            if unit < 0:
                return threads.done(m.board, phase, step, units)
            do(m, unit, *given)
            threads.finished(m.board, phase, units)

    return phase_of_units


def by_rows(do: Any) -> Any:
    """`do(m, r, *given)` for every row r."""

    @shared
    @part
    def some_rows(m: Model, unit: int, num: int, per_unit: int, given: Any) -> None:
        for r in range(unit * per_unit, min(num, (unit + 1) * per_unit)):
            do(m, r, *given)

    @part
    def phase_of_rows(m: Model, phase: int, step: int, num: int, given: Any) -> bool:
        per_unit = num // (8 * m.num_threads) + 1
        return some_rows(m, phase, step, (num + per_unit - 1) // per_unit, (num, per_unit, given))

    return phase_of_rows


def by_outputs(do: Any) -> Any:
    """`do(m, r0, r1, n0, n1, *given)` for parts of all rows and of so many outputs, `wide` of these at once."""

    @shared
    @part
    def some_outputs(m: Model, unit: int, num: int, outputs: int, wide: int, given: Any) -> None:
        across = _many(outputs, wide)
        r0, n0 = unit // across * ROW_BLOCK, unit % across * wide
        do(m, r0, min(num, r0 + ROW_BLOCK), n0, min(outputs, n0 + wide), *given)

    @part
    def phase_of_outputs(m: Model, phase: int, step: int, num: int, outputs: int, wide: int, given: Any) -> bool:
        units = _many(outputs, wide) * _many(num, ROW_BLOCK)
        return some_outputs(m, phase, step, units, (num, outputs, wide, given))

    return phase_of_outputs


def by_experts(do: Any) -> Any:
    """`do(m, r0, r1, n0, n1, before, *given)` for parts of every expert's rows and of its outputs; `before` rows of the
    map are those of the experts before."""

    @shared
    @part
    def some_of_an_expert(m: Model, unit: int, outputs: int, wide: int, given: Any) -> None:
        across = _many(outputs, wide)
        expert, r0, r1 = m.scratch.routes.parts[unit // across]  # no rows beyond the last part
        n0 = unit % across * wide
        do(m, r0, r1, n0, min(outputs, n0 + wide), expert * outputs, *given)

    @part
    def phase_of_experts(m: Model, phase: int, step: int, num: int, outputs: int, block: int, given: Any) -> bool:
        wide = width_of_unit(m, outputs, block)
        units = _many(outputs, wide) * most_parts(m, num)
        return some_of_an_expert(m, phase, step, units, (outputs, wide, given))

    return phase_of_experts


@part
def most_parts(m: Model, num: int) -> int:
    """Parts of experts' rows that there may be. Units are counted by this, since a thread that comes late to a phase
    may find the number that a later layer has."""
    rows = num * m.shape.experts_used
    return min(rows, m.shape.experts + rows // ROW_BLOCK)


@part
def width_of_unit(m: Model, outputs: int, block: int) -> int:
    """Outputs of a unit, whole blocks: units enough that nobody waits long for the last."""
    return max(1, np.int64(outputs // (block * 8 * m.num_threads))) * block


@part
def _many(size: int, at_once: int) -> int:
    return (size + at_once - 1) // at_once
