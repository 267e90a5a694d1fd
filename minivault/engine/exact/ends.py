"""What comes before the first layer of a decoder and after the last: the embedding, the last norm, the head."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact import threads
from minivault.engine.exact.compiling import compiled
from minivault.engine.exact.layer import width_of_unit
from minivault.engine.exact.linear import add_bias, embed, linear
from minivault.engine.exact.maths import tanh
from minivault.engine.exact.normalizing import normalize, quantize
from minivault.engine.exact.tensors import NUM_NORMS, ROWS, Model


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
def finally_normalized(m: Model, phase: int, step: int, thread: int, num: int) -> bool:
    """z = quantised norm(x) of the wanted rows."""
    s = m.scratch
    while True:
        i = threads.take(m.board, phase, step, num)
        if i < 0:
            return threads.done(m.board, phase, step, num)
        x, hidden, norm = s.x[m.rows.wanted[i]], m.shape.hidden, m.shape.layers * NUM_NORMS
        normalize(m.shape, m.weights, norm, x, hidden, hidden, s.normed[i], s.partial[thread])
        quantize(s.normed[i], i, 0, s.normed.shape[1], s.for_map, m.shape.logit_scale)
        threads.finished(m.board, phase, num)


@compiled
def scored(kind: Any, m: Model, phase: int, step: int, num: int) -> bool:
    """logits = head z, capped where the model does."""
    which, cap = len(m.weights.maps) - 1, np.float32(m.shape.logit_cap)
    rows, logits = m.weights.maps[which, ROWS], m.scratch.logits
    wide = width_of_unit(rows, 16, 8 * m.num_threads)
    units = (rows + wide - 1) // wide
    while True:
        unit = threads.take(m.board, phase, step, units)
        if unit < 0:
            return threads.done(m.board, phase, step, units)
        n0 = unit * wide
        n1 = min(rows, n0 + wide)
        add_bias(m.weights, which, 0, num, n0, n1, logits, 0, True)
        linear(kind, m.weights, which, m.scratch.for_map, 0, num, n0, n1, logits, 0)
        if cap > 0:
            for r in range(num):
                for k in range(n0, n1):
                    logits[r, k] = cap * tanh(logits[r, k] / cap)
        threads.finished(m.board, phase, units)
