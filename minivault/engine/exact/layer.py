"""A layer of a decoder: its phases, each so many units that any thread may do in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact import threads
from minivault.engine.exact.attention import attend
from minivault.engine.exact.compiling import compiled
from minivault.engine.exact.linear import add_bias, linear
from minivault.engine.exact.maths import gelu, gelu_tanh, relu, silu
from minivault.engine.exact.normalizing import normalize, quantize
from minivault.engine.exact.rotary import place_head
from minivault.engine.exact.tensors import (
    ALL_HEADS,
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

ROW_BLOCK = 64
"""Rows of a unit: their activations stay near while weights pass."""


@compiled
def normalized(m: Model, phase: int, step: int, thread: int, norm: int, is_for_mlp: bool, num: int) -> bool:
    """z = quantised norm(x), for attention or the MLP; for both at first where they read the same x."""
    is_parallel, per_unit = m.shape.is_parallel, rows_of_unit(m, num)
    if is_for_mlp and is_parallel:
        return True
    units = (num + per_unit - 1) // per_unit
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        for r in range(unit * per_unit, min(num, (unit + 1) * per_unit)):
            if not is_for_mlp:
                _read(m, thread, norm + ATTENTION_NORM, r, m.scratch.for_map)
            if is_for_mlp or is_parallel:
                _read(m, thread, norm + MLP_NORM, r, m.scratch.for_mlp)
        threads.finished(m.board, phase, units)


@compiled
def rows_of_unit(m: Model, num: int) -> int:
    return num // (8 * m.num_threads) + 1


@compiled
def _read(m: Model, thread: int, norm: int, r: int, z: Any) -> None:
    """Row r of z is what a map reads of the stream."""
    s, hidden = m.scratch, m.shape.hidden
    if m.shape.has_input_norms:
        normalize(m.shape, m.weights, norm, s.x[r], hidden, hidden, s.normed[r], s.partial[thread])
        quantize(s.normed[r], r, 0, s.normed.shape[1], z, 1.0)
    else:
        quantize(s.x[r], r, 0, s.x.shape[1], z, 1.0)


@compiled
def projected(kind: Any, m: Model, phase: int, step: int, thread: int, layer: int, num: int) -> bool:
    """q, k, v = W z + b, a head a unit, each put where attention finds it unless all are to be normed together."""
    shape, s = m.shape, m.scratch
    heads, lanes = shape.heads + 2 * shape.groups, shape.lanes
    units = heads * ((num + ROW_BLOCK - 1) // ROW_BLOCK)
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        head, r0 = unit % heads, unit // heads * ROW_BLOCK
        r1 = min(num, r0 + ROW_BLOCK)
        part, of_part = QUERY, head
        if head >= shape.heads:
            part = KEY if head < shape.heads + shape.groups else VALUE
            of_part = (head - shape.heads) % shape.groups
        which, n0, column = layer * NUM_MAPS + part, of_part * lanes, (head - of_part) * lanes
        add_bias(m.weights, which, r0, r1, n0, n0 + lanes, s.heads, column, True)
        linear(kind, m.weights, which, s.for_map, r0, r1, n0, n0 + lanes, s.heads, column)
        if shape.head_norm != ALL_HEADS:
            for r in range(r0, r1):
                place_head(kind, m, thread, layer, part, of_part, r, head * lanes)
        threads.finished(m.board, phase, units)


@compiled
def headed(kind: Any, m: Model, phase: int, step: int, thread: int, layer: int, num: int) -> bool:
    """All heads of q and all of k normed together, then each put where attention finds it."""
    shape, s, norm = m.shape, m.scratch, layer * NUM_NORMS
    if shape.head_norm != ALL_HEADS:
        return True
    queries, keys, lanes = shape.heads * shape.lanes, shape.groups * shape.lanes, shape.lanes
    while True:
        r = threads.take(m.board, phase, step, num)
        if r < 0:
            return threads.done(m.board, phase, step, num)
        q, k, partial = s.heads[r, :queries], s.heads[r, queries : queries + keys], s.partial[thread]
        normalize(shape, m.weights, norm + QUERY_NORM, q, queries, shape.heads * shape.head_size, q, partial)
        normalize(shape, m.weights, norm + KEY_NORM, k, keys, shape.groups * shape.head_size, k, partial)
        for head in range(shape.heads):
            place_head(kind, m, thread, layer, QUERY, head, r, head * lanes)
        for group in range(shape.groups):
            place_head(kind, m, thread, layer, KEY, group, r, queries + group * lanes)
            place_head(kind, m, thread, layer, VALUE, group, r, queries + keys + group * lanes)
        threads.finished(m.board, phase, num)


@compiled
def attended(kind: Any, m: Model, phase: int, step: int, thread: int, layer: int, tiles: int) -> bool:
    """a = quantised softmax(q K) V. A unit is some rows of a sequence, for groups that fill whole 32 inputs."""
    shape = m.shape
    width, per_unit = shape.heads // shape.groups * shape.head_size, 1
    while per_unit * width % 32 and per_unit < shape.groups:
        per_unit += 1
    packs = (shape.groups + per_unit - 1) // per_unit
    units = tiles * packs
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        tile, g0 = unit // packs, unit % packs * per_unit
        g1 = min(shape.groups, g0 + per_unit)
        r0 = m.rows.tile_first[tile]
        r1 = r0 + m.rows.tile_size[tile]
        for group in range(g0, g1):
            attend(kind, m, thread, layer, group, r0, r1)
        end = m.scratch.attended.shape[1] if g1 == shape.groups else g1 * width
        for r in range(r0, r1):
            quantize(m.scratch.attended[r], r, g0 * width, end, m.scratch.for_output, shape.residual_scale)
        threads.finished(m.board, phase, units)


@compiled
def added(kind: Any, m: Model, phase: int, step: int, which: int, z: Any, num: int) -> bool:
    """x = x + b + W z; or b + W z by itself, where it is normed before it joins x."""
    rows, is_apart = m.weights.maps[which, ROWS], m.shape.has_output_norms
    y = m.scratch.branch if is_apart else m.scratch.x
    wide = width_of_unit(rows, 16, m.num_threads)
    across = (rows + wide - 1) // wide
    units = across * ((num + ROW_BLOCK - 1) // ROW_BLOCK)
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        r0, n0 = unit // across * ROW_BLOCK, unit % across * wide
        r1, n1 = min(num, r0 + ROW_BLOCK), min(rows, n0 + wide)
        add_bias(m.weights, which, r0, r1, n0, n1, y, 0, is_apart)
        linear(kind, m.weights, which, z, r0, r1, n0, n1, y, 0)
        threads.finished(m.board, phase, units)


@compiled
def joined(m: Model, phase: int, step: int, thread: int, norm: int, num: int) -> bool:
    """x = x + norm(b + W z)."""
    if not m.shape.has_output_norms:
        return True
    s, hidden, per_unit = m.scratch, m.shape.hidden, rows_of_unit(m, num)
    units = (num + per_unit - 1) // per_unit
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        for r in range(unit * per_unit, min(num, (unit + 1) * per_unit)):
            normalize(m.shape, m.weights, norm, s.branch[r], hidden, hidden, s.branch[r], s.partial[thread])
            for k in range(hidden):
                s.x[r, k] += s.branch[r, k]
        threads.finished(m.board, phase, units)


@compiled
def activated(kind: Any, m: Model, phase: int, step: int, first: int, num: int) -> bool:
    """f = quantised act(gate z) * (up z), or act(up z)."""
    s = m.scratch
    rows = m.weights.maps[first + UP, ROWS]
    wide = width_of_unit(rows, 32, m.num_threads)
    across = (rows + wide - 1) // wide
    units = across * ((num + ROW_BLOCK - 1) // ROW_BLOCK)
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        r0, n0 = unit // across * ROW_BLOCK, unit % across * wide
        r1, n1 = min(num, r0 + ROW_BLOCK), min(rows, n0 + wide)
        add_bias(m.weights, first + UP, r0, r1, n0, n1, s.up, 0, True)
        linear(kind, m.weights, first + UP, s.for_mlp, r0, r1, n0, n1, s.up, 0)
        if m.shape.is_gated:
            add_bias(m.weights, first + GATE, r0, r1, n0, n1, s.gate, 0, True)
            linear(kind, m.weights, first + GATE, s.for_mlp, r0, r1, n0, n1, s.gate, 0)
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
        threads.finished(m.board, phase, units)


@compiled
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


@compiled
def width_of_unit(rows: int, block: int, num_threads: int) -> int:
    """Outputs of a unit, whole blocks: units enough that nobody waits long for the last."""
    return max(1, np.int64(rows // (block * 8 * num_threads))) * block
