"""Experts of a layer: which rows go to which, what these make of them, and their sum; phases as in `layer`.

A row's experts and their shares come from that row alone, in float32 and a fixed order, and an expert's answer to a row
does not know its other rows: so rows may be sorted by expert, for each expert's weights to be read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact import threads
from minivault.engine.exact.compiling import compiled
from minivault.engine.exact.layer import ROW_BLOCK, activate, rows_of_unit, width_of_unit
from minivault.engine.exact.linear import add_bias, linear
from minivault.engine.exact.maths import ONE, exp
from minivault.engine.exact.normalizing import quantize
from minivault.engine.exact.ops import at_least, at_most, fma
from minivault.engine.exact.tensors import EXPERT_DOWN, EXPERT_GATE, EXPERT_UP, NUM_MAPS, ROWS, Model, Quantized

NUM_PHASES = 5


@compiled
def experts(kind: Any, m: Model, phase: int, step: int, thread: int, layer: int, num: int) -> bool:  # noqa: ARG001
    """x = x + the sum of what each row's experts give, by their shares."""
    if m.shape.experts == 0:
        return True
    return (
        routed(m, phase, step, layer, num)
        and sorted_by_expert(m, phase + 1, step, num)
        and activated_by_experts(kind, m, phase + 2, step, layer * NUM_MAPS, num)
        and given(kind, m, phase + 3, step, layer * NUM_MAPS + EXPERT_DOWN, num)
        and summed(m, phase + 4, step, num)
    )


@compiled
def routed(m: Model, phase: int, step: int, layer: int, num: int) -> bool:
    """Each row's experts and their shares; the share of the MLP that all rows go through, where it has one."""
    per_unit = rows_of_unit(m, num)
    units = (num + per_unit - 1) // per_unit
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        for r in range(unit * per_unit, min(num, (unit + 1) * per_unit)):
            numbers = m.scratch.routes.numbers[r]
            _ask_router(m, layer, m.scratch.normed[r] if m.shape.has_input_norms else m.scratch.x[r], numbers)
            _choose(m, numbers, m.scratch.routes.places[r])
            _share(m, numbers, m.scratch.routes.places[r], m.scratch.routes.shares[r])
            if m.shape.has_shared_mlp:
                share = ONE / (ONE + exp(-numbers[m.shape.experts]))
                m.scratch.mlp_scale[r] = np.float32(m.shape.residual_scale) * share
        threads.finished(m.board, phase, units)


@compiled
def _ask_router(m: Model, layer: int, x: Any, numbers: Any) -> None:
    """numbers = bias + W x, input after input."""
    floats, width = m.weights.floats, m.shape.routes
    at, bias = m.weights.routers[layer]
    numbers[:] = 0
    if bias >= 0:
        numbers[:] = floats[bias : bias + width]
    for k in range(m.shape.hidden):
        value = x[k]
        for e in range(width):
            numbers[e] = fma(value, floats[at + k * width + e], numbers[e])


@compiled
def _choose(m: Model, numbers: Any, places: Any) -> None:
    """Places 0 for those of the largest numbers, of equal ones the first; -1 for others."""
    places[:] = -1
    for _ in range(m.shape.experts_used):
        best = -1
        for e in range(m.shape.experts):
            if places[e] < 0 and (best < 0 or numbers[e] > numbers[best]):
                best = e
        places[best] = 0


@compiled
def _share(m: Model, numbers: Any, places: Any, shares: Any) -> None:
    """exp(number - largest) over the sum of these, of the chosen or of all, added in the order of experts."""
    most, total = numbers[0], np.float32(0)
    for e in range(1, m.shape.experts):
        most = at_least(most, numbers[e])
    for e in range(m.shape.experts):
        shares[e] = exp(numbers[e] - most)
        if places[e] >= 0 or not m.shape.is_share_normalized:
            total += shares[e]
    for e in range(m.shape.experts):
        shares[e] = shares[e] / total


@compiled
def sorted_by_expert(m: Model, phase: int, step: int, num: int) -> bool:
    """The quantised rows of each expert one after the other, and the parts that these make."""
    routes, place, parts = m.scratch.routes, 0, 0
    if threads.take(m.board, phase, step, 1) < 0:
        return threads.done(m.board, phase, step, 1)
    for e in range(m.shape.experts):
        first = place
        for r in range(num):
            if routes.places[r, e] >= 0:
                routes.places[r, e] = place
                _copy_row(m.scratch.for_mlp, r, routes.for_up, place)
                place += 1
        for start in range(first, place, ROW_BLOCK):
            routes.parts[parts] = e, start, min(place, start + ROW_BLOCK)
            parts += 1
    routes.parts[parts : _most_parts(m, num)] = 0
    threads.finished(m.board, phase, 1)
    return threads.done(m.board, phase, step, 1)


@compiled
def _copy_row(z: Quantized, r: int, to: Quantized, place: int) -> None:
    to.codes[place] = z.codes[r]
    to.scales[place] = z.scales[r]
    to.scaled_sums[place] = z.scaled_sums[r]
    to.sums[place] = z.sums[r]
    to.half_sums[place] = z.half_sums[r]


@compiled
def _most_parts(m: Model, num: int) -> int:
    """Parts that there may be. Units are counted by this, since a thread that comes late to a phase may find the number
    that a later layer has."""
    rows = num * m.shape.experts_used
    return min(rows, m.shape.experts + rows // ROW_BLOCK)


@compiled
def activated_by_experts(kind: Any, m: Model, phase: int, step: int, first: int, num: int) -> bool:
    """f = quantised act(gate z) * (up z), of every row at every expert of its."""
    w, routes, rows = m.weights, m.scratch.routes, m.shape.expert_mlp
    wide = width_of_unit(rows, 32, m.num_threads)
    across = (rows + wide - 1) // wide
    units = across * _most_parts(m, num)
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        expert, r0, r1 = routes.parts[unit // across]  # no rows beyond the last part
        n0 = unit % across * wide
        n1, before = min(rows, n0 + wide), expert * rows
        add_bias(w, first + EXPERT_UP, r0, r1, before + n0, before + n1, routes.up, -before, True)
        linear(kind, w, first + EXPERT_UP, routes.for_up, r0, r1, before + n0, before + n1, routes.up, -before)
        add_bias(w, first + EXPERT_GATE, r0, r1, before + n0, before + n1, routes.gate, -before, True)
        linear(kind, w, first + EXPERT_GATE, routes.for_up, r0, r1, before + n0, before + n1, routes.gate, -before)
        for r in range(r0, r1):
            _through_gate(m, routes.gate[r, n0:n1], routes.up[r, n0:n1])
            quantize(routes.up[r], r, n0, n1, routes.for_down, m.shape.residual_scale)
        threads.finished(m.board, phase, units)


@compiled
def _through_gate(m: Model, gate: Any, up: Any) -> None:
    slope, limit = np.float32(m.shape.gate_slope), np.float32(m.shape.gate_limit)
    if limit == 0:
        activate(m.shape.activation, gate)
        for k in range(len(up)):
            up[k] = gate[k] * up[k]
    else:
        for k in range(len(up)):
            x = at_most(gate[k], limit)
            up[k] = x / (ONE + exp(-slope * x)) * (at_least(at_most(up[k], limit), -limit) + ONE)


@compiled
def given(kind: Any, m: Model, phase: int, step: int, which: int, num: int) -> bool:
    """b + W f, of every row at every expert of its."""
    routes, rows = m.scratch.routes, m.weights.maps[which, ROWS] // m.shape.experts
    wide = width_of_unit(rows, 16, m.num_threads)
    across = (rows + wide - 1) // wide
    units = across * _most_parts(m, num)
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        expert, r0, r1 = routes.parts[unit // across]  # no rows beyond the last part
        n0 = unit % across * wide
        n1, before = min(rows, n0 + wide), expert * rows
        add_bias(m.weights, which, r0, r1, before + n0, before + n1, routes.given, -before, True)
        linear(kind, m.weights, which, routes.for_down, r0, r1, before + n0, before + n1, routes.given, -before)
        threads.finished(m.board, phase, units)


@compiled
def summed(m: Model, phase: int, step: int, num: int) -> bool:
    """x = x + share * what an expert gives, for each of a row's in their order."""
    routes, per_unit = m.scratch.routes, rows_of_unit(m, num)
    units = (num + per_unit - 1) // per_unit
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        for r in range(unit * per_unit, min(num, (unit + 1) * per_unit)):
            x = m.scratch.x[r]
            for e in range(m.shape.experts):
                place = routes.places[r, e]
                if place >= 0:
                    share, answer = routes.shares[r, e], routes.given[place]
                    for k in range(m.shape.hidden):
                        x[k] = fma(share, answer[k], x[k])
        threads.finished(m.board, phase, units)
