"""Attention of some rows of one sequence, for one group of heads: they read its keys and values once."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.cache import BLOCK_TOKENS
from minivault.engine.exact.compiling import compiled
from minivault.engine.exact.kernels import combine
from minivault.engine.exact.maths import exp, inlined
from minivault.engine.exact.ops import at_least
from minivault.engine.exact.rotary import halves_at


@compiled
def attend(kind: Any, m: Any, thread: int, layer: int, group: int, r0: int, r1: int) -> None:
    """`attended` of rows r0 to r1 (of successive positions) in the heads of `group`."""
    shape, cache, s = m.shape, m.cache, m.scratch
    per_group, lanes, size = shape.heads // shape.groups, shape.lanes, shape.head_size
    slot, first = m.rows.slots[r0], m.rows.positions[r0]
    last = first + r1 - r0
    blocks = (last + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    num, row = (r1 - r0) * per_group, cache.score_row
    queries, scores, values = s.queries[thread], s.scores[thread], s.values[thread]
    for r in range(r0, r1):
        q = s.heads[r, group * per_group * lanes : (group + 1) * per_group * lanes]
        queries[(r - r0) * len(q) : (r - r0 + 1) * len(q)] = q
    values[: num * lanes] = 0
    for j in range(num):
        scores[j * row : j * row + blocks * BLOCK_TOKENS] = 0
    for b in range(blocks):
        keys = halves_at(shape, cache, slot, b, layer, group)
        width = BLOCK_TOKENS
        combine(kind, queries, 0, lanes, num, cache.halves, keys, width, size, width, scores, b * BLOCK_TOKENS, row)
    for j in range(num):
        n = first + j // per_group + 1
        total = _softmax(scores[j * row : j * row + blocks * BLOCK_TOKENS], n, s.partial[thread])
        queries[j] = np.float32(1) / total  # read already
    for b in range(blocks):
        at = halves_at(shape, cache, slot, b, layer, group) + BLOCK_TOKENS * size
        count = min(BLOCK_TOKENS, last - b * BLOCK_TOKENS)
        combine(kind, scores, b * BLOCK_TOKENS, row, num, cache.halves, at, lanes, count, lanes, values, 0, lanes)
    for j in range(num):
        out = s.attended[r0 + j // per_group, (group * per_group + j % per_group) * size :]
        for d in range(size):
            out[d] = values[j * lanes + d] * queries[j]


@inlined
def _softmax(s: Any, n: int, partial: Any) -> np.float32:
    """s = exp(s - largest) up to n, zeros beyond; the sum, in 16 parts of which number k goes to part k % 16."""
    most = _largest(s, n, partial)
    for k in range(n):
        s[k] = exp(s[k] - most)
    s[n:] = 0
    partial[:] = 0
    for k in range(0, len(s), 16):
        for lane in range(16):
            partial[lane] += s[k + lane]
    total = np.float32(0)
    for lane in range(16):
        total += partial[lane]
    return total


@inlined
def _largest(s: Any, n: int, partial: Any) -> np.float32:
    """Whatever the order: a maximum has no rounding."""
    partial[:] = s[0]
    whole = n // 16 * 16
    for k in range(0, whole, 16):
        for lane in range(16):
            partial[lane] = at_least(partial[lane], s[k + lane])
    for k in range(whole, n):
        partial[0] = at_least(partial[0], s[k])
    most = partial[0]
    for lane in range(1, 16):
        most = at_least(most, partial[lane])
    return most
