"""What a pass writes, as tuples of arrays for compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.shape import Shape, padded
from minivault.engine.exact.weights import BLOCK
from minivault.families import Block

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

MAX_ROWS = 256
"""Most tokens of a pass."""
MAX_WANTED = 64
"""Most rows of logits of a pass."""
TILE_QUERIES = 12
"""Queries that read keys and values together: heads of a group times rows of a sequence."""

APART = 64
"""Bytes between rows of codes, or rows of so many inputs as a page has would fight for the same lines of a cache."""


class Quantized(NamedTuple):
    """Activations [rows, inputs]: int8 codes, some bytes behind each row; per 32 inputs scale, sum and scale * sum; and
    sums per 16."""

    codes: NDArray[np.int8]
    scales: Floats
    scaled_sums: Floats
    sums: NDArray[np.int32]
    half_sums: NDArray[np.int32]


def _quantized(inputs: int, rows: int = MAX_ROWS) -> Quantized:
    groups = inputs // 32
    return Quantized(
        np.zeros((rows, inputs + APART), np.int8),
        np.zeros((rows, groups), np.float32),
        np.zeros((rows, groups), np.float32),
        np.zeros((rows, groups), np.int32),
        np.zeros((rows, 2 * groups), np.int32),
    )


class Routes(NamedTuple):
    """Which rows go to which experts, and what these read and give: a row of `gate` and what follows is a row of the
    stream at one expert, all of an expert one after the other."""

    numbers: Floats
    """What a router says of a row [rows, routes]."""
    shares: Floats
    """[rows, experts], as are `places`: the expert's row below, -1 where it is not chosen."""
    places: Ints
    parts: Ints
    """[parts, 3]: an expert, and a range of its rows."""
    for_up: Quantized
    gate: Floats
    up: Floats
    for_down: Quantized
    given: Floats


def _routes(shape: Shape, hidden: int) -> Routes:
    def floats(rows: int, width: int) -> Floats:
        return np.zeros((rows, width), np.float32)

    rows = MAX_ROWS * shape.experts_used
    return Routes(
        numbers=floats(MAX_ROWS, shape.routes),
        shares=floats(MAX_ROWS, shape.experts),
        places=np.zeros((MAX_ROWS, shape.experts), np.int64),
        parts=np.zeros((rows, 3), np.int64),
        for_up=_quantized(hidden, rows),
        gate=floats(rows, shape.expert_mlp),
        up=floats(rows, shape.expert_mlp),
        for_down=_quantized(shape.expert_mlp, rows),
        given=floats(rows, hidden),
    )


class Scratch(NamedTuple):
    """What a pass writes. Widths are padded; the padding stays zero."""

    x: Floats
    """The residual stream."""
    normed: Floats
    for_map: Quantized
    for_mlp: Quantized
    branch: Floats
    """What attention or MLP gives, where it is normed before it joins the stream."""
    heads: Floats
    """Queries, keys and values [rows, heads * lanes]."""
    attended: Floats
    for_output: Quantized
    gate: Floats
    up: Floats
    for_down: Quantized
    mlp_scale: Floats
    """[rows]: what the MLP of all tokens gives is multiplied with."""
    routes: Routes
    logits: Floats
    queries: Floats
    """[threads, queries * lanes], as are `values`; `scores` [threads, queries * positions]; `partial` [threads, 16]."""
    scores: Floats
    values: Floats
    partial: Floats


def scratch_of(block: Block, shape: Shape, context: int, threads: int) -> Scratch:
    def floats(rows: int, width: int) -> Floats:
        return np.zeros((rows, width), np.float32)

    hidden, attention, mlp = (padded(size, 32) for size in (block.hidden, block.attention, block.mlp))
    queries = max(TILE_QUERIES, block.num_queries)
    return Scratch(
        x=floats(MAX_ROWS, hidden),
        normed=floats(MAX_ROWS, hidden),
        for_map=_quantized(hidden),
        for_mlp=_quantized(hidden),
        branch=floats(MAX_ROWS, hidden if block.has_output_norms else 0),
        heads=floats(MAX_ROWS, (shape.heads + 2 * shape.groups) * shape.lanes),
        attended=floats(MAX_ROWS, attention),
        for_output=_quantized(attention),
        gate=floats(MAX_ROWS, mlp),
        up=floats(MAX_ROWS, mlp),
        for_down=_quantized(mlp),
        mlp_scale=np.full(MAX_ROWS, shape.residual_scale, np.float32),
        routes=_routes(shape, hidden),
        logits=floats(MAX_WANTED, padded(block.vocabulary, BLOCK)),
        queries=floats(threads, queries * shape.lanes),
        scores=floats(threads, queries * row_of_scores(context)),
        values=floats(threads, queries * shape.lanes),
        partial=floats(threads, 16),
    )


def row_of_scores(context: int) -> int:
    """Not a multiple of a page, or the rows would fight for the same lines of the nearest cache."""
    return padded(context, 32) + 16
