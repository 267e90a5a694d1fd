"""A head of a row to where attention finds it: rotated queries, keys and values in the cache as float16."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.exact.cache import BLOCK_TOKENS
from minivault.engine.exact.compiling import inlined
from minivault.engine.exact.kernels import half
from minivault.engine.exact.normalizing import normalize
from minivault.engine.exact.ops import at_least, at_most
from minivault.engine.exact.shape import BY_HEAD, Shape
from minivault.engine.exact.tensors import KEY_NORM, NUM_NORMS, QUERY, QUERY_NORM, VALUE, Cache

MOST = np.float32(65504)
"""The largest float16."""


@inlined
def halves_at(shape: Shape, cache: Cache, slot: int, index: int, layer: int, group: int) -> int:
    """Where a group's keys of block `index` of a slot begin; its values follow."""
    of_group = BLOCK_TOKENS * (shape.head_size + shape.lanes)
    return np.int64(cache.table[slot, index]) * cache.block + (layer * shape.groups + group) * of_group


@inlined
def _kept(kind: Any, x: np.float32) -> int:
    """As float16; what is too large becomes the largest, so that the cache holds finite numbers only."""
    return half(kind, at_most(at_least(x, -MOST), MOST))


@inlined
def place_head(kind: Any, m: Any, thread: int, layer: int, part: int, group: int, r: int, column: int) -> None:
    """The head that row r of `heads` holds from `column` on: `part` tells of what, `group` which."""
    shape, weights, cache, position = m.shape, m.weights, m.cache, m.rows.positions[r]
    head = m.scratch.heads[r, column : column + shape.lanes]
    if part != VALUE and shape.head_norm == BY_HEAD:
        norm, partial = layer * NUM_NORMS + (QUERY_NORM if part == QUERY else KEY_NORM), m.scratch.partial[thread]
        normalize(shape, weights, norm, head, shape.head_size, shape.head_size, head, partial)
    turn = weights.rotations[layer]
    if part != VALUE and turn >= 0:
        _rotate(head, weights.cos[turn, position], weights.sin[turn, position], shape.turned // 2)
    if part == QUERY:
        scale = np.float32(shape.attention_scale / (layer + 1 if shape.is_scaled_by_depth else 1))
        for d in range(shape.head_size):
            head[d] *= scale
        return
    at = halves_at(shape, cache, m.rows.slots[r], position // BLOCK_TOKENS, layer, group)
    inside = position % BLOCK_TOKENS
    if part == VALUE:
        at += BLOCK_TOKENS * shape.head_size + inside * shape.lanes
        for d in range(shape.lanes):
            cache.halves[at + d] = _kept(kind, head[d])
    else:
        for d in range(shape.head_size):
            cache.halves[at + d * BLOCK_TOKENS + inside] = _kept(kind, head[d])


@inlined
def _rotate(head: Any, cos: Any, sin: Any, half_size: int) -> None:
    for d in range(half_size):
        a, b = head[d], head[d + half_size]
        head[d] = a * cos[d] - b * sin[d]
        head[d + half_size] = b * cos[d] + a * sin[d]
