"""Experts of a layer: which rows go to which, what these make of them, and their sum; phases as in `layer`.

A row's experts and their shares come from that row alone, in float32 and a fixed order, and an expert's answer to a row
does not know its other rows: so rows may be sorted by expert, for each expert's weights to be read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.compiling import part
from minivault.engine.exact.layer import activate
from minivault.engine.exact.linear import affine
from minivault.engine.exact.maths import ONE, exp
from minivault.engine.exact.ops import at_least, at_most, copy, fma
from minivault.engine.exact.quantizing import quantize
from minivault.engine.exact.scratch import Quantized
from minivault.engine.exact.tensors import EXPERT_DOWN, EXPERT_GATE, EXPERT_UP, NUM_MAPS, ROWS, Model
from minivault.engine.exact.units import ROW_BLOCK, by_experts, by_rows, most_parts, shared

NUM_PHASES = 5


@part
def experts(kind: Any, m: Model, phase: int, step: int, layer: int, num: int) -> bool:
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


@part
def routed(m: Model, phase: int, step: int, layer: int, num: int) -> bool:
    """Each row's experts and their shares; the share of the MLP that all rows go through, where it has one."""
    return _route(m, phase, step, num, (layer,))


@by_rows
@part
def _route(m: Model, r: int, layer: int) -> None:
    routes = m.scratch.routes
    numbers = routes.numbers[r]
    _ask_router(m, layer, m.scratch.normed[r] if m.shape.has_input_norms else m.scratch.x[r], numbers)
    _choose(m, numbers, routes.places[r])
    _share(m, numbers, routes.places[r], routes.shares[r])
    if m.shape.has_shared_mlp:
        share = ONE / (ONE + exp(-numbers[m.shape.experts]))
        m.scratch.mlp_scale[r] = np.float32(m.shape.residual_scale) * share


@part
def _ask_router(m: Model, layer: int, x: Any, numbers: Any) -> None:
    """numbers = bias + W x, input after input."""
    floats, width = m.weights.floats, m.shape.routes
    at, bias = m.weights.routers[layer]
    numbers[:] = 0
    if bias >= 0:
        copy(floats[bias : bias + width], numbers)
    for k in range(m.shape.hidden):
        value = x[k]
        for e in range(width):
            numbers[e] = fma(value, floats[at + k * width + e], numbers[e])


@part
def _choose(m: Model, numbers: Any, places: Any) -> None:
    """Places 0 for those of the largest numbers, of equal ones the first; -1 for others."""
    places[:] = -1
    for _ in range(m.shape.experts_used):
        best = -1
        for e in range(m.shape.experts):
            if places[e] < 0 and (best < 0 or numbers[e] > numbers[best]):
                best = e
        places[best] = 0


@part
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


@part
def sorted_by_expert(m: Model, phase: int, step: int, num: int) -> bool:
    """The quantised rows of each expert one after the other, and the parts that these make."""
    return _sort(m, phase, step, 1, (num,))


@shared
@part
def _sort(m: Model, _unit: int, num: int) -> None:
    routes, place, parts = m.scratch.routes, 0, 0
    for e in range(m.shape.experts):
        first = place
        for r in range(num):
            if routes.places[r, e] >= 0:
                routes.places[r, e] = place
                _copy_row(m.scratch.for_mlp, r, routes.for_up, place)
                place += 1
        for start in range(first, place, ROW_BLOCK):
            one = routes.parts[parts]
            one[0], one[1], one[2] = e, start, min(place, start + ROW_BLOCK)
            parts += 1
    routes.parts[parts : most_parts(m, num)] = 0


@part
def _copy_row(z: Quantized, r: int, to: Quantized, place: int) -> None:
    copy(z.codes[r], to.codes[place])
    copy(z.scales[r], to.scales[place])
    copy(z.scaled_sums[r], to.scaled_sums[place])
    copy(z.sums[r], to.sums[place])
    copy(z.half_sums[r], to.half_sums[place])


@part
def activated_by_experts(kind: Any, m: Model, phase: int, step: int, first: int, num: int) -> bool:
    """f = quantised act(gate z) * (up z), of every row at every expert of its."""
    return _activate(m, phase, step, num, m.shape.expert_mlp, 32, (kind, first))


@by_experts
@part
def _activate(m: Model, r0: int, r1: int, n0: int, n1: int, before: int, kind: Any, first: int) -> None:
    w, routes, b0, b1 = m.weights, m.scratch.routes, before + n0, before + n1
    affine(kind, w, first + EXPERT_UP, routes.for_up, r0, r1, b0, b1, routes.up, -before)
    affine(kind, w, first + EXPERT_GATE, routes.for_up, r0, r1, b0, b1, routes.gate, -before)
    for r in range(r0, r1):
        _through_gate(m, routes.gate[r, n0:n1], routes.up[r, n0:n1])
        quantize(routes.up[r], r, n0, n1, routes.for_down, m.shape.residual_scale)


@part
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


@part
def given(kind: Any, m: Model, phase: int, step: int, which: int, num: int) -> bool:
    """b + W f, of every row at every expert of its."""
    outputs = m.weights.maps[which, ROWS] // m.shape.experts
    return _give(m, phase, step, num, outputs, 16, (kind, which))


@by_experts
@part
def _give(m: Model, r0: int, r1: int, n0: int, n1: int, before: int, kind: Any, which: int) -> None:
    routes = m.scratch.routes
    affine(kind, m.weights, which, routes.for_down, r0, r1, before + n0, before + n1, routes.given, -before)


@part
def summed(m: Model, phase: int, step: int, num: int) -> bool:
    """x = x + share * what an expert gives, for each of a row's in their order."""
    return _sum(m, phase, step, num, ())


@by_rows
@part
def _sum(m: Model, r: int) -> None:
    routes, x = m.scratch.routes, m.scratch.x[r]
    for e in range(m.shape.experts):
        place = routes.places[r, e]
        if place >= 0:
            share, answer = routes.shares[r, e], routes.given[place]
            for k in range(m.shape.hidden):
                x[k] = fma(share, answer[k], x[k])
