"""The numbers that tokens are drawn with: 32 bits each, a pure function of who draws, where, and which token.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC'11): a block cipher of few
rounds over a counter, so that any number can be had without those before it. A block holds the numbers of four tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.compiling import compiled

CHUNK = 64
"""Tokens whose numbers are made together."""
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10

Word = Any
"""An unsigned integer, or an array of them."""


class Stream(NamedTuple):
    """Where numbers come from: the two halves of the key, and two words of the counter. Whoever wants other numbers
    (keyed by something else than a seed, say) makes another of these, and nothing else changes."""

    key_low: Word
    key_high: Word
    position: Word
    purpose: int


def _round(a: Word, b: Word, c: Word, d: Word, k: Word, m: Word) -> tuple[Word, Word, Word, Word]:
    first, second = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
    return (second >> _HALF) ^ b ^ k, second & _LOW, (first >> _HALF) ^ d ^ m, first & _LOW


_compiled_round = compiled(_round)


def numbers_of(stream: Stream, token_ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The numbers of any tokens, in NumPy: those that `fill` gives. The words of a stream may be arrays, one for each
    token."""
    ids = token_ids.astype(np.uint64)
    a, b = np.full_like(ids, stream.position), ids // np.uint64(4)
    c, d = np.full_like(ids, stream.purpose), np.zeros_like(ids)
    k, m = np.asarray(stream.key_low, np.uint64), np.asarray(stream.key_high, np.uint64)
    for _ in range(_ROUNDS):
        a, b, c, d = _round(a, b, c, d, k, m)
        k, m = (k + _KEY_STEPS[0]) & _LOW, (m + _KEY_STEPS[1]) & _LOW
    numbers: NDArray[np.uint64] = np.choose(token_ids % 4, (a, b, c, d))
    return numbers


@compiled
def fill(stream: Stream, start: int, numbers: NDArray[np.int32]) -> None:
    """The numbers of CHUNK tokens from `start` on, a multiple of CHUNK: token t's is word t % 4 of the block with the
    counter (position, t // 4, purpose, 0)."""
    low, high = np.uint64(stream.key_low), np.uint64(stream.key_high)
    position, purpose, first = np.uint64(stream.position), np.uint64(stream.purpose), np.uint64(start // 4)
    for block in range(CHUNK // 4):
        a, b, c, d, k, m = position, first + np.uint64(block), purpose, np.uint64(0), low, high
        for _ in range(_ROUNDS):
            a, b, c, d = _compiled_round(a, b, c, d, k, m)
            k, m = (k + _KEY_STEPS[0]) & _LOW, (m + _KEY_STEPS[1]) & _LOW
        numbers[4 * block] = a
        numbers[4 * block + 1] = b
        numbers[4 * block + 2] = c
        numbers[4 * block + 3] = d
