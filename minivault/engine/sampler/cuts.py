"""Which tokens top-k and top-p keep: a beginning of the canonical order, told by its last token.

No row is sorted. Tokens are looked at in chunks, whose highest ones say which chunks matter; of what matters, those up
to the cut are found by halving an interval of logits. Weights are integers: their sums have no order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.compiling import compiled
from minivault.engine.exact.ops import larger
from minivault.engine.sampler.maths import LEAST, mass, ordered, smaller, unordered
from minivault.engine.sampler.philox import CHUNK

Logits = NDArray[np.float32]
Chunks = NDArray[np.float32]
"""A row as [chunks, CHUNK]: the shape in which the compiler sees through the loops."""
Keys = NDArray[np.int32]
Weights = NDArray[np.int64]

FORBIDDEN, INFINITE = -0x7F800001, 0x7F800000
"""The keys of the two infinities: beyond them is no number."""
_REACH, _WIDENING = 3.0, 3.0
"""How far below the highest logit, in units of temperature, top-p looks first, and how much farther each time."""


class Last(NamedTuple):
    """The last token of a beginning of the canonical order: all with a higher key are in, and of those with this one
    the ids up to this one."""

    key: int
    token_id: int


class Beginning(NamedTuple):
    """Some tokens by id, with their keys."""

    keys: Keys
    ids: Keys


@compiled
def chunked(row: Logits) -> Chunks:
    """A row as chunks, the last one filled up with what cannot be chosen."""
    rest = len(row) % CHUNK
    if not rest:
        return row.reshape(-1, CHUNK)
    filled = np.empty(len(row) + CHUNK - rest, np.float32)
    for i in range(len(filled)):
        filled[i] = row[i] if i < len(row) else -np.inf
    return filled.reshape(-1, CHUNK)


@compiled
def survey(chunks: Chunks) -> tuple[Keys, int]:
    """The highest key of each chunk, and of the row: FORBIDDEN where that is not finite, or anything is no number."""
    tops = np.empty(len(chunks), np.int32)
    highest, lowest = np.int32(FORBIDDEN), np.int32(INFINITE)
    for c in range(len(chunks)):
        top = np.int32(FORBIDDEN)
        for i in range(CHUNK):
            key = ordered(chunks[c, i])
            top, lowest = larger(top, key), smaller(lowest, key)
        tops[c] = top
        highest = larger(highest, top)
    return tops, highest if lowest >= FORBIDDEN and highest < INFINITE else np.int32(FORBIDDEN)


@compiled
def _gather(chunks: Chunks, tops: Keys, least: int) -> Beginning:
    """Every token with a key of at least `least`."""
    num = 0
    for top in tops:
        num += CHUNK if top >= least else 0
    keys, ids, num = np.empty(num, np.int32), np.empty(num, np.int32), 0
    for c in range(len(chunks)):
        if tops[c] >= least:
            for i in range(CHUNK):
                key = ordered(chunks[c, i])
                if key >= least:
                    keys[num], ids[num] = key, c * CHUNK + i
                    num += 1
    return Beginning(keys[:num], ids[:num])


@compiled
def _ones(num: int) -> Weights:
    weights = np.empty(num, np.int64)
    for i in range(num):
        weights[i] = 1
    return weights


@compiled
def _masses(keys: Keys, peak: float, temperature: float) -> tuple[Weights, int]:
    """What each weighs, and all together."""
    weights, total = np.empty(len(keys), np.int64), 0
    for i in range(len(keys)):
        weights[i] = mass((unordered(keys[i]) - peak) / temperature)
        total += weights[i]
    return weights, total


@compiled
def total_mass(chunks: Chunks, tops: Keys, peak: float, temperature: float) -> int:
    """What a whole row weighs; its highest token weighs 2**44."""
    total = 0
    for c in range(len(chunks)):
        if (unordered(tops[c]) - peak) / temperature > LEAST:
            for i in range(CHUNK):
                total += mass((chunks[c, i] - peak) / temperature)
    return total


@compiled
def _key_at(keys: Keys, weights: Weights, target: int) -> int:
    """The highest key such that tokens from it up weigh `target`; the lowest possible where all weigh less."""
    low, high = FORBIDDEN + 1, INFINITE
    while low < high:
        middle = (low + high + 1) >> 1
        total, edge = 0, np.int32(middle)
        for i in range(len(keys)):
            total += weights[i] if keys[i] >= edge else 0
        if total >= target:
            low = middle
        else:
            high = middle - 1
    return low


@compiled
def _last(found: Beginning, weights: Weights, target: int) -> Last:
    """The end of the shortest beginning that weighs `target`, which all weigh together."""
    key = _key_at(found.keys, weights, target)
    total, last = 0, -1
    for i in range(len(weights)):
        total += weights[i] if found.keys[i] > key else 0
    for i in range(len(weights)):
        if found.keys[i] == key and total < target:
            total += weights[i]
            last = found.ids[i]
    return Last(key, last)


@compiled
def _up_to(found: Beginning, last: Last) -> Beginning:
    keys, ids, num = found.keys, found.ids, 0
    for i in range(len(keys)):
        if keys[i] > last.key or (keys[i] == last.key and ids[i] <= last.token_id):
            keys[num], ids[num] = keys[i], ids[i]
            num += 1
    return Beginning(keys[:num], ids[:num])


@compiled
def leading(chunks: Chunks, tops: Keys, num: int) -> tuple[Beginning, Last]:
    """The `num` first tokens, or all there are, and the last of them. So many chunks' tops bound where that one is."""
    found = _gather(chunks, tops, _key_at(tops, _ones(len(tops)), num))
    last = _last(found, _ones(len(found.keys)), min(num, len(found.keys)))
    return _up_to(found, last), last


@compiled
def _likeliest(chunks: Chunks, tops: Keys, peak: float, temperature: float, target: int) -> tuple[Beginning, Weights]:
    """A beginning that weighs at least `target`, as a whole row does."""
    reach = _REACH
    while True:
        least = max(np.int64(ordered(np.float32(peak - reach * temperature))), FORBIDDEN + 1)
        found = _gather(chunks, tops, least)
        weights, total = _masses(found.keys, peak, temperature)
        if total >= target:
            return found, weights
        reach *= _WIDENING


@compiled
def _least_mass(total: int, top_p: float) -> int:
    return min(max(math.ceil(top_p * total), 1), total)


@compiled
def cut(chunks: Chunks, tops: Keys, peak: float, temperature: float, top_k: int, top_p: float) -> Last:
    """The last token that top-k (0: all) and then top-p keep."""
    if top_k > 0:
        found, last = leading(chunks, tops, top_k)
        if top_p >= 1.0:
            return last
        weights, total = _masses(found.keys, peak, temperature)
        return _last(found, weights, _least_mass(total, top_p))
    if top_p >= 1.0:
        return Last(FORBIDDEN + 1, chunks.size)
    target = _least_mass(total_mass(chunks, tops, peak, temperature), top_p)
    found, weights = _likeliest(chunks, tops, peak, temperature, target)
    return _last(found, weights, target)
