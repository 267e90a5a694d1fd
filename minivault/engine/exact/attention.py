"""Attention of some rows of one sequence, for one group of heads: they read its keys and values once."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.cache import BLOCK_TOKENS
from minivault.engine.exact.compiling import inlined
from minivault.engine.exact.kernels import combine
from minivault.engine.exact.maths import exp, tanh
from minivault.engine.exact.ops import at_least, copy, prefetch
from minivault.engine.exact.rotary import halves_at

HALVES_PER_LINE = 32


@inlined
def attend(kind: Any, m: Any, thread: int, layer: int, group: int, r0: int, r1: int) -> None:
    """`attended` of rows r0 to r1 (of successive positions) in the heads of `group`."""
    shape, cache, s = m.shape, m.cache, m.scratch
    per_group, lanes, size = shape.heads // shape.groups, shape.lanes, shape.head_size
    slot, first = m.rows.slots[r0], m.rows.positions[r0]
    last, window = first + r1 - r0, m.weights.windows[layer]
    oldest = max(0, first + 1 - window) // BLOCK_TOKENS
    blocks = (last + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    num, row = (r1 - r0) * per_group, cache.score_row
    queries, scores, values = s.queries[thread], s.scores[thread], s.values[thread]
    for r in range(r0, r1):
        q = s.heads[r, group * per_group * lanes : (group + 1) * per_group * lanes]
        copy(q, queries[(r - r0) * len(q) :])
    values[: num * lanes] = 0
    for j in range(num):
        scores[j * row + oldest * BLOCK_TOKENS : j * row + blocks * BLOCK_TOKENS] = 0
    for b in range(oldest, blocks):
        keys = halves_at(shape, cache, slot, b, layer, group)
        width = BLOCK_TOKENS
        if num == per_group:
            following, part = (b + 1, 0) if b + 1 < blocks else (oldest, BLOCK_TOKENS * size)
            _fetch(cache, halves_at(shape, cache, slot, following, layer, group) + part, width * size)
        combine(kind, queries, 0, lanes, num, cache.halves, keys, width, size, width, scores, b * BLOCK_TOKENS, row)
    for j in range(num):
        n = first + j // per_group + 1
        begin = max(0, n - window) - oldest * BLOCK_TOKENS
        row_of = scores[j * row + oldest * BLOCK_TOKENS : j * row + blocks * BLOCK_TOKENS]
        if shape.attention_cap > 0:
            _cap(row_of, np.float32(shape.attention_cap))
        sink = m.weights.sinks[layer, group * per_group + j % per_group]
        total = _softmax(row_of, begin, n - oldest * BLOCK_TOKENS, sink, s.partial[thread])
        queries[j] = np.float32(1) / total  # read already
    for b in range(oldest, blocks):
        at = halves_at(shape, cache, slot, b, layer, group) + BLOCK_TOKENS * size
        if num == per_group and b + 1 < blocks:
            after = halves_at(shape, cache, slot, b + 1, layer, group) + BLOCK_TOKENS * size
            _fetch(cache, after, BLOCK_TOKENS * lanes)
        count = min(BLOCK_TOKENS, last - b * BLOCK_TOKENS)
        combine(kind, scores, b * BLOCK_TOKENS, row, num, cache.halves, at, lanes, count, lanes, values, 0, lanes)
    for j in range(num):
        out = s.attended[r0 + j // per_group, (group * per_group + j % per_group) * size :]
        for d in range(size):
            out[d] = values[j * lanes + d] * queries[j]


@inlined
def _fetch(cache: Any, start: int, size: int) -> None:
    """Ask for the next block: memory's own guesses end where a page does."""
    for at in range(start, start + size, HALVES_PER_LINE):
        prefetch(cache.halves, at)


@inlined
def _cap(s: Any, cap: np.float32) -> None:
    for k in range(len(s)):
        s[k] = cap * tanh(s[k] / cap)


@inlined
def _softmax(s: Any, begin: int, n: int, sink: np.float32, partial: Any) -> np.float32:
    """s = exp(s - largest) from `begin` to n, zeros elsewhere; the sum, in 16 parts: number k goes to part k % 16.

    A sink counts among the scores; one of -inf adds what is lost against a sum of at least 1."""
    seen = s[begin:n]
    most = at_least(_largest(seen, n - begin, partial), sink)
    s[:begin] = 0
    for k in range(len(seen)):
        seen[k] = exp(seen[k] - most)
    s[n:] = 0
    partial[:] = 0
    for k in range(0, len(s), 16):
        for lane in range(16):
            partial[lane] += s[k + lane]
    total = np.float32(0)
    for lane in range(16):
        total += partial[lane]
    return total + exp(sink - most)


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
