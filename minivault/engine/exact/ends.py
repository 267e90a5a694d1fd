"""What comes before the first layer of a decoder and after the last: the embedding, the last norm, the head."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.compiling import part
from minivault.engine.exact.linear import affine, embed
from minivault.engine.exact.maths import tanh
from minivault.engine.exact.normalizing import normalize
from minivault.engine.exact.quantizing import quantize
from minivault.engine.exact.tensors import NUM_NORMS, ROWS, Model
from minivault.engine.exact.units import by_outputs, shared, width_of_unit


@part
def embedded(m: Model, phase: int, step: int, num: int) -> bool:
    """x = embedding[token] (+ positions[position])."""
    return _embed(m, phase, step, num, ())


@shared
@part
def _embed(m: Model, r: int) -> None:
    embed(m.shape, m.weights, m.rows.tokens[r], m.rows.positions[r], m.scratch.x[r])


@part
def finally_normalized(m: Model, phase: int, step: int, thread: int, num: int) -> bool:
    """z = quantised norm(x) of the wanted rows."""
    return _normalize(m, phase, step, num, (thread,))


@shared
@part
def _normalize(m: Model, i: int, thread: int) -> None:
    s, hidden, norm = m.scratch, m.shape.hidden, m.shape.layers * NUM_NORMS
    normalize(m.shape, m.weights, norm, s.x[m.rows.wanted[i]], hidden, hidden, s.normed[i], s.partial[thread])
    quantize(s.normed[i], i, 0, s.normed.shape[1], s.for_map, m.shape.logit_scale)


@part
def scored(kind: Any, m: Model, phase: int, step: int, num: int) -> bool:
    """logits = head z, capped where the model does."""
    which = len(m.weights.maps) - 1
    outputs = m.weights.maps[which, ROWS]
    return _score(m, phase, step, num, outputs, width_of_unit(m, outputs, 128) // 8, (kind, which))


@by_outputs
@part
def _score(m: Model, r0: int, r1: int, n0: int, n1: int, kind: Any, which: int) -> None:
    cap, logits = np.float32(m.shape.logit_cap), m.scratch.logits
    affine(kind, m.weights, which, m.scratch.for_map, r0, r1, n0, n1, logits, 0)
    if cap > 0:
        for r in range(r0, r1):
            for k in range(n0, n1):
                logits[r, k] = cap * tanh(logits[r, k] / cap)
