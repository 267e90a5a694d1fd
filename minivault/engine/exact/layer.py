"""A layer of a decoder: its phases, each so many units that any thread may do in any order."""

from __future__ import annotations

from typing import Any

from minivault.engine.exact.attention import attend
from minivault.engine.exact.compiling import part
from minivault.engine.exact.linear import affine, linear, started
from minivault.engine.exact.maths import gelu, gelu_tanh, relu, silu
from minivault.engine.exact.normalizing import normalize
from minivault.engine.exact.quantizing import quantize
from minivault.engine.exact.rotary import place_head
from minivault.engine.exact.shape import ALL_HEADS
from minivault.engine.exact.tensors import (
    ATTENTION_NORM,
    GATE,
    KEY,
    KEY_NORM,
    MLP_NORM,
    NUM_MAPS,
    NUM_NORMS,
    QUERY,
    QUERY_NORM,
    ROWS,
    UP,
    VALUE,
    Model,
)
from minivault.engine.exact.units import by_outputs, by_rows, shared, width_of_unit


@part
def normalized(m: Model, phase: int, step: int, thread: int, norm: int, is_for_mlp: bool, num: int) -> bool:
    """z = quantised norm(x), for attention or the MLP; for both at first where they read the same x."""
    if is_for_mlp and m.shape.is_parallel:
        return True
    return _normalize(m, phase, step, num, (thread, norm, is_for_mlp))


@by_rows
@part
def _normalize(m: Model, r: int, thread: int, norm: int, is_for_mlp: bool) -> None:
    if not is_for_mlp:
        _read(m, thread, norm + ATTENTION_NORM, r, m.scratch.for_map)
    if is_for_mlp or m.shape.is_parallel:
        _read(m, thread, norm + MLP_NORM, r, m.scratch.for_mlp)


@part
def _read(m: Model, thread: int, norm: int, r: int, z: Any) -> None:
    """Row r of z is what a map reads of the stream."""
    s, hidden = m.scratch, m.shape.hidden
    if m.shape.has_input_norms:
        normalize(m.shape, m.weights, norm, s.x[r], hidden, hidden, s.normed[r], s.partial[thread])
        quantize(s.normed[r], r, 0, s.normed.shape[1], z, 1.0)
    else:
        quantize(s.x[r], r, 0, s.x.shape[1], z, 1.0)


@part
def projected(kind: Any, m: Model, phase: int, step: int, thread: int, layer: int, num: int) -> bool:
    """q, k, v = W z + b, a head a unit, each put where attention finds it unless all are to be normed together."""
    outputs = (m.shape.heads + 2 * m.shape.groups) * m.shape.lanes
    return _project(m, phase, step, num, outputs, m.shape.lanes, (kind, thread, layer))


@by_outputs
@part
def _project(m: Model, r0: int, r1: int, column: int, _stop: int, kind: Any, thread: int, layer: int) -> None:
    shape, s = m.shape, m.scratch
    head, lanes = column // shape.lanes, shape.lanes
    which, of_part = QUERY, head
    if head >= shape.heads:
        which = KEY if head < shape.heads + shape.groups else VALUE
        of_part = (head - shape.heads) % shape.groups
    n0 = of_part * lanes
    affine(kind, m.weights, layer * NUM_MAPS + which, s.for_map, r0, r1, n0, n0 + lanes, s.heads, column - n0)
    if shape.head_norm != ALL_HEADS:
        for r in range(r0, r1):
            place_head(kind, m, thread, layer, which, of_part, r, column)


@part
def headed(kind: Any, m: Model, phase: int, step: int, thread: int, layer: int, num: int) -> bool:
    """All heads of q and all of k normed together, then each put where attention finds it."""
    if m.shape.head_norm != ALL_HEADS:
        return True
    return _place_heads(m, phase, step, num, (kind, thread, layer))


@shared
@part
def _place_heads(m: Model, r: int, kind: Any, thread: int, layer: int) -> None:
    shape, s, norm = m.shape, m.scratch, layer * NUM_NORMS
    queries, keys, lanes = shape.heads * shape.lanes, shape.groups * shape.lanes, shape.lanes
    q, k, partial = s.heads[r, :queries], s.heads[r, queries : queries + keys], s.partial[thread]
    normalize(shape, m.weights, norm + QUERY_NORM, q, queries, shape.heads * shape.head_size, q, partial)
    normalize(shape, m.weights, norm + KEY_NORM, k, keys, shape.groups * shape.head_size, k, partial)
    for head in range(shape.heads):
        place_head(kind, m, thread, layer, QUERY, head, r, head * lanes)
    for group in range(shape.groups):
        place_head(kind, m, thread, layer, KEY, group, r, queries + group * lanes)
        place_head(kind, m, thread, layer, VALUE, group, r, queries + keys + group * lanes)


@part
def attended(kind: Any, m: Model, phase: int, step: int, thread: int, layer: int, tiles: int) -> bool:
    """a = quantised softmax(q K) V. A unit is some rows of a sequence, for groups that fill whole 32 inputs."""
    shape = m.shape
    width, per_unit = shape.heads // shape.groups * shape.head_size, 1
    while per_unit * width % 32 and per_unit < shape.groups:
        per_unit += 1
    packs = (shape.groups + per_unit - 1) // per_unit
    return _attend_in_groups(m, phase, step, tiles * packs, (kind, thread, layer, packs, per_unit, width))


@shared
@part
def _attend_in_groups(
    m: Model, unit: int, kind: Any, thread: int, layer: int, packs: int, per_unit: int, width: int
) -> None:
    tile, g0 = unit // packs, unit % packs * per_unit
    g1 = min(m.shape.groups, g0 + per_unit)
    r0 = m.rows.tile_first[tile]
    r1 = r0 + m.rows.tile_size[tile]
    for group in range(g0, g1):
        attend(kind, m, thread, layer, group, r0, r1)
    end = m.scratch.attended.shape[1] if g1 == m.shape.groups else g1 * width
    for r in range(r0, r1):
        quantize(m.scratch.attended[r], r, g0 * width, end, m.scratch.for_output, m.shape.residual_scale)


@part
def added(kind: Any, m: Model, phase: int, step: int, which: int, z: Any, num: int) -> bool:
    """x = x + b + W z; or b + W z by itself, where it is normed before it joins x."""
    outputs = m.weights.maps[which, ROWS]
    return _add(m, phase, step, num, outputs, width_of_unit(m, outputs, 16), (kind, which, z))


@by_outputs
@part
def _add(m: Model, r0: int, r1: int, n0: int, n1: int, kind: Any, which: int, z: Any) -> None:
    is_apart = m.shape.has_output_norms
    y = m.scratch.branch if is_apart else m.scratch.x
    started(m.weights, which, r0, r1, n0, n1, y, 0, is_apart)
    linear(kind, m.weights, which, z, r0, r1, n0, n1, y, 0)


@part
def joined(m: Model, phase: int, step: int, thread: int, norm: int, num: int) -> bool:
    """x = x + norm(b + W z)."""
    if not m.shape.has_output_norms:
        return True
    return _join(m, phase, step, num, (thread, norm))


@by_rows
@part
def _join(m: Model, r: int, thread: int, norm: int) -> None:
    s, hidden = m.scratch, m.shape.hidden
    normalize(m.shape, m.weights, norm, s.branch[r], hidden, hidden, s.branch[r], s.partial[thread])
    for k in range(hidden):
        s.x[r, k] += s.branch[r, k]


@part
def activated(kind: Any, m: Model, phase: int, step: int, first: int, num: int) -> bool:
    """f = quantised act(gate z) * (up z), or act(up z)."""
    outputs = m.weights.maps[first + UP, ROWS]
    return _activate(m, phase, step, num, outputs, width_of_unit(m, outputs, 32), (kind, first))


@by_outputs
@part
def _activate(m: Model, r0: int, r1: int, n0: int, n1: int, kind: Any, first: int) -> None:
    s = m.scratch
    affine(kind, m.weights, first + UP, s.for_mlp, r0, r1, n0, n1, s.up, 0)
    if m.shape.is_gated:
        affine(kind, m.weights, first + GATE, s.for_mlp, r0, r1, n0, n1, s.gate, 0)
    for r in range(r0, r1):
        gate = s.gate[r, n0:n1]
        up = s.up[r, n0:n1]
        if m.shape.is_gated:
            activate(m.shape.activation, gate)
            for k in range(n1 - n0):
                up[k] = gate[k] * up[k]
        else:
            activate(m.shape.activation, up)
        quantize(s.up[r], r, n0, n1, s.for_down, s.mlp_scale[r])


@part
def activate(activation: int, values: Any) -> None:
    if activation == 0:
        for k in range(len(values)):
            values[k] = silu(values[k])
    elif activation == 1:
        for k in range(len(values)):
            values[k] = gelu_tanh(values[k])
    elif activation == 2:
        for k in range(len(values)):
            values[k] = gelu(values[k])
    else:
        for k in range(len(values)):
            values[k] = relu(values[k])
