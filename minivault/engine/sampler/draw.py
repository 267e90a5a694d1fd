"""One token of one row, drawn by the highest score, and a row's log-probabilities: the compiled way through.

A token's score is (logit - highest logit) / temperature - log(-log(u)), u = (its number + 0.5) / 2**32. Numbers are
made for the chunks that can win, and logarithms for the tokens that can: a bound without any tells which.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from minivault.engine.exact.compiling import compiled, keep_in
from minivault.engine.exact.ops import F32, I32, bits, operation
from minivault.engine.sampler.cuts import (
    FORBIDDEN,
    Chunks,
    Keys,
    Last,
    Logits,
    chunked,
    cut,
    leading,
    survey,
    total_mass,
)
from minivault.engine.sampler.maths import LN2, UNIT_BITS, log, ordered, unordered
from minivault.engine.sampler.philox import CHUNK, Stream, fill

_BESIDE = Path(__file__).parent / "__pycache__"
NO_TOKEN = -1
MOST = 22.9
"""No number is worth more: -log(-log(1 - 2**-33)) is 22.87."""
SLACK = 0.01
"""What the bound is raised by, far above its rounding errors."""
HUGE = 1e30
"""From this temperature on the bound leaves logits out, whose difference might overflow."""
_QUARTER = np.float32(0.25)
_OFFSET, _STEP = np.float32((127 + 31) * LN2), np.float32(LN2 / 2**23)


def _above(builder: Any, number: Any) -> Any:
    """(2**32 - 1 - number) // 2."""
    return builder.sitofp(builder.lshr(builder.not_(number), ir.Constant(I32, 1)), F32)


_above_as_float = operation("f", "i", _above)


@compiled
def _worth_at_most(number: np.int32) -> np.float32:
    """-log(-log(u)) <= -log(1 - u), and a float's own bits are a lower bound of its logarithm."""
    worth: np.float32 = _OFFSET - np.float32(bits(_above_as_float(number) + _QUARTER)) * _STEP
    return worth


@compiled
def _worth(number: np.int32) -> float:
    return -log(-log(((np.int64(number) & 0xFFFFFFFF) + 0.5) / 2.0**32))


@compiled
def _num_hopeful(chunks: Chunks, c: int, numbers: Keys, top: np.float32, inverse: np.float32, limit: np.float32) -> int:
    """How many tokens of a chunk may score `limit`."""
    num = 0
    for i in range(CHUNK):
        num += not (chunks[c, i] - top) * inverse + _worth_at_most(numbers[i]) < limit
    return num


@compiled
def _winner(
    chunks: Chunks, tops: Keys, peak: float, temperature: float, floor: float, last: Last, stream: Stream
) -> int:
    """The token with the highest score, the lowest id of equals, among those up to `last` and not below the floor."""
    first = 0
    for c in range(len(tops)):
        first = c if tops[c] > tops[first] else first
    numbers, best, winner = np.empty(CHUNK, np.int32), -np.inf, NO_TOKEN
    top, inverse = np.float32(peak), np.float32(1 / temperature if temperature < HUGE else 0.0)
    for turn in range(-1, len(tops)):
        c = turn if turn >= 0 else first
        z = (unordered(tops[c]) - peak) / temperature
        if tops[c] < last.key or z < floor or z + MOST < best:
            continue
        fill(stream, c * CHUNK, numbers)
        if not _num_hopeful(chunks, c, numbers, top, inverse, np.float32(best - SLACK)):
            continue
        for i in range(CHUNK):
            key, z, token_id = ordered(chunks[c, i]), (chunks[c, i] - peak) / temperature, c * CHUNK + i
            if z + MOST < best or key < last.key or z < floor or (key == last.key and token_id > last.token_id):
                continue
            score = z + _worth(numbers[i])
            if score > best or (score == best and token_id < winner):
                best, winner = score, token_id
    return winner


@compiled
def choose(
    row: Logits,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    key_low: int,
    key_high: int,
    position: int,
    purpose: int,
) -> int:
    """The token drawn from a row [vocabulary]; NO_TOKEN where the highest logit is not a finite number."""
    chunks = chunked(row)
    tops, highest = survey(chunks)
    if highest <= FORBIDDEN:
        return NO_TOKEN
    peak = np.float64(unordered(highest))
    last = cut(chunks, tops, peak, temperature, top_k, top_p)
    floor = log(min_p) if min_p > 0.0 else -np.inf
    stream = Stream(key_low, key_high, position, purpose)
    return _winner(chunks, tops, peak, temperature, floor, last, stream)


@compiled
def measure(row: Logits, num: int) -> tuple[float, NDArray[np.int32]]:
    """What to take from a logit for its log-probability (NaN in a row that is not finite), and the `num` first
    tokens by id."""
    chunks = chunked(row)
    tops, highest = survey(chunks)
    if highest <= FORBIDDEN:
        return np.nan, np.empty(0, np.int32)
    peak = np.float64(unordered(highest))
    normalizer = peak + log(total_mass(chunks, tops, peak, 1.0) / 2.0**UNIT_BITS)
    return normalizer, leading(chunks, tops, num)[0].ids if num > 0 else np.empty(0, np.int32)


def keep_otherwise_in(folder: Path) -> None:
    """Machine code is kept beside the bytecode, or here where nothing can be written there."""
    for function in (choose, measure):
        keep_in(_BESIDE if os.access(_BESIDE.parent, os.W_OK) else folder, function)


def _for_rows(function: Any, *others: Any) -> Any:
    """A function for contiguous rows of float32 and nothing else: no other array makes it compile again."""
    return function.compile((types.float32[::1], *others))


def compiled_choose() -> Any:
    cuts, stream = (types.float64, types.int64, types.float64, types.float64), (types.int64,) * 4
    return _for_rows(choose, *cuts, *stream)


def compiled_measure() -> Any:
    return _for_rows(measure, types.int64)


keep_otherwise_in(_BESIDE)
