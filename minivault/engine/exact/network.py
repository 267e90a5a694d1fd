"""The forward pass of a decoder: any rows of any sequences, prompts and single tokens alike, by any number of threads.

Every thread runs `forward`, which reads like the equations: a phase a line. A phase's units can be done by any thread
in any order, and each row's numbers come from that row and its own past alone: nothing here depends on the company.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minivault.engine.exact import threads
from minivault.engine.exact.attention import attend
from minivault.engine.exact.compiling import compiled
from minivault.engine.exact.linear import add_bias, embed, linear
from minivault.engine.exact.maths import gelu, gelu_tanh, relu, silu
from minivault.engine.exact.normalizing import normalize, quantize
from minivault.engine.exact.ops import borrowed, load
from minivault.engine.exact.rotary import place_head
from minivault.engine.exact.tensors import (
    ATTENTION_NORM,
    DOWN,
    GATE,
    KEY,
    MLP_NORM,
    NUM_MAPS,
    NUM_NORMS,
    OUTPUT,
    QUERY,
    ROWS,
    UP,
    VALUE,
    Cache,
    Rows,
    Scratch,
    Shape,
    Weights,
)

ROW_BLOCK = 64
"""Rows of a unit: their activations stay near while weights pass."""
PHASES_OF_LAYER, OTHER_PHASES = 7, 3


class Model(NamedTuple):
    """All that a pass needs, besides the kind of kernels."""

    shape: Shape
    weights: Weights
    cache: Cache
    rows: Rows
    scratch: Scratch
    board: threads.Board
    num_threads: int


def num_phases(shape: Shape) -> int:
    return PHASES_OF_LAYER * shape.layers + OTHER_PHASES


@compiled
def work(kind: Any, model: Model, thread: int, num: int, tiles: int, wanted: int, wants_logits: bool) -> None:
    """Thread 0 does a step over so many rows, tiles and wanted rows; others do step after step, until a call with a
    negative number sends them home. One function, so that there is one to compile."""
    m = borrowed(model)
    if thread < 0:
        threads.dismiss(m.board)
    elif thread == 0:
        forward(kind, m, 0, threads.begin(m.board, num, tiles, wanted, wants_logits))
    else:
        step = threads.await_step(m.board, 0)
        while step > 0:
            forward(kind, m, thread, step)
            step = threads.await_step(m.board, step)


@compiled
def forward(kind: Any, m: Model, thread: int, step: int) -> bool:
    """One step; False if it was over before we came."""
    num, tiles = load(m.board, threads.NUM_ROWS), load(m.board, threads.NUM_TILES)
    if not embedded(m, 0, step, num):
        return False
    for layer in range(m.shape.layers):
        at = 1 + layer * PHASES_OF_LAYER
        norm, first = layer * NUM_NORMS, layer * NUM_MAPS
        on = (
            normalized(m, at, step, thread, norm + ATTENTION_NORM, num)
            and projected(kind, m, at + 1, step, layer, num)
            and attended(kind, m, at + 2, step, thread, layer, tiles)
            and added(kind, m, at + 3, step, first + OUTPUT, m.scratch.for_output, num)
            and normalized(m, at + 4, step, thread, norm + MLP_NORM, num)
            and activated(kind, m, at + 5, step, first, num)
            and added(kind, m, at + 6, step, first + DOWN, m.scratch.for_down, num)
        )
        if not on:
            return False
    return _finish(kind, m, thread, step, 1 + m.shape.layers * PHASES_OF_LAYER)


@compiled
def _finish(kind: Any, m: Model, thread: int, step: int, phase: int) -> bool:
    """The last norm of the wanted rows, and their logits where these are wanted."""
    num = load(m.board, threads.NUM_WANTED)
    if not finally_normalized(m, phase, step, thread, num):
        return False
    return not load(m.board, threads.WANTS_LOGITS) or scored(kind, m, phase + 1, step, num)


@compiled
def embedded(m: Model, phase: int, step: int, num: int) -> bool:
    """x = embedding[token] (+ positions[position])."""
    while True:
        r = threads.take(m.board, phase, step, num)
        if r < 0:
            return threads.done(m.board, phase, step, num)
        embed(m.shape, m.weights, m.rows.tokens[r], m.rows.positions[r], m.scratch.x[r])
        threads.finished(m.board, phase, num)


@compiled
def normalized(m: Model, phase: int, step: int, thread: int, norm: int, num: int) -> bool:
    """z = quantised norm(x)."""
    s, per_unit = m.scratch, num // (8 * m.num_threads) + 1
    units = (num + per_unit - 1) // per_unit
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        for r in range(unit * per_unit, min(num, (unit + 1) * per_unit)):
            normalize(m.shape, m.weights, norm, s.x[r], s.normed[r], s.partial[thread])
            quantize(s.normed[r], r, 0, s.normed.shape[1], s.for_map)
        threads.finished(m.board, phase, units)


@compiled
def projected(kind: Any, m: Model, phase: int, step: int, layer: int, num: int) -> bool:
    """q, k, v = W z + b, a head a unit; q and k rotated, k and v put into the cache."""
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
        for r in range(r0, r1):
            place_head(kind, m, layer, part, of_part, r, head * lanes)
        threads.finished(m.board, phase, units)


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
            quantize(m.scratch.attended[r], r, g0 * width, end, m.scratch.for_output)
        threads.finished(m.board, phase, units)


@compiled
def added(kind: Any, m: Model, phase: int, step: int, which: int, z: Any, num: int) -> bool:
    """x = x + b + W z."""
    rows, x = m.weights.maps[which, ROWS], m.scratch.x
    wide = _width(rows, 16, m.num_threads)
    across = (rows + wide - 1) // wide
    units = across * ((num + ROW_BLOCK - 1) // ROW_BLOCK)
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        r0, n0 = unit // across * ROW_BLOCK, unit % across * wide
        r1, n1 = min(num, r0 + ROW_BLOCK), min(rows, n0 + wide)
        add_bias(m.weights, which, r0, r1, n0, n1, x, 0, False)
        linear(kind, m.weights, which, z, r0, r1, n0, n1, x, 0)
        threads.finished(m.board, phase, units)


@compiled
def activated(kind: Any, m: Model, phase: int, step: int, first: int, num: int) -> bool:
    """f = quantised act(gate z) * (up z), or act(up z)."""
    s = m.scratch
    rows = m.weights.maps[first + UP, ROWS]
    wide = _width(rows, 32, m.num_threads)
    across = (rows + wide - 1) // wide
    units = across * ((num + ROW_BLOCK - 1) // ROW_BLOCK)
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        r0, n0 = unit // across * ROW_BLOCK, unit % across * wide
        r1, n1 = min(num, r0 + ROW_BLOCK), min(rows, n0 + wide)
        add_bias(m.weights, first + UP, r0, r1, n0, n1, s.up, 0, True)
        linear(kind, m.weights, first + UP, s.for_map, r0, r1, n0, n1, s.up, 0)
        if m.shape.is_gated:
            add_bias(m.weights, first + GATE, r0, r1, n0, n1, s.gate, 0, True)
            linear(kind, m.weights, first + GATE, s.for_map, r0, r1, n0, n1, s.gate, 0)
        for r in range(r0, r1):
            gate = s.gate[r, n0:n1]
            up = s.up[r, n0:n1]
            if m.shape.is_gated:
                activate(m.shape.activation, gate)
                for k in range(n1 - n0):
                    up[k] = gate[k] * up[k]
            else:
                activate(m.shape.activation, up)
            quantize(s.up[r], r, n0, n1, s.for_down)
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
def finally_normalized(m: Model, phase: int, step: int, thread: int, num: int) -> bool:
    """z = quantised norm(x) of the wanted rows."""
    s = m.scratch
    while True:
        i = threads.take(m.board, phase, step, num)
        if i < 0:
            return threads.done(m.board, phase, step, num)
        normalize(m.shape, m.weights, m.shape.layers * NUM_NORMS, s.x[m.rows.wanted[i]], s.normed[i], s.partial[thread])
        quantize(s.normed[i], i, 0, s.normed.shape[1], s.for_map)
        threads.finished(m.board, phase, num)


@compiled
def scored(kind: Any, m: Model, phase: int, step: int, num: int) -> bool:
    """logits = head z."""
    which = len(m.weights.maps) - 1
    rows, logits = m.weights.maps[which, ROWS], m.scratch.logits
    wide = _width(rows, 16, 8 * m.num_threads)
    units = (rows + wide - 1) // wide
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        n0 = unit * wide
        n1 = min(rows, n0 + wide)
        add_bias(m.weights, which, 0, num, n0, n1, logits, 0, True)
        linear(kind, m.weights, which, m.scratch.for_map, 0, num, n0, n1, logits, 0)
        threads.finished(m.board, phase, units)


@compiled
def _width(rows: int, block: int, num_threads: int) -> int:
    """Outputs of a unit, whole blocks: units enough that nobody waits long for the last."""
    return max(1, np.int64(rows // (block * 8 * num_threads))) * block
