"""All that a forward pass needs, as tuples of arrays for compiled code: weights, cache, rows of a pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact import threads
from minivault.engine.exact.cache import PagedCache
from minivault.engine.exact.scratch import MAX_ROWS, Scratch, row_of_scores
from minivault.engine.exact.shape import Shape
from minivault.engine.exact.weights import WeightsFile
from minivault.families import Block

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CODES, SCALES, MINIMA, STEPS, LEVELS, FORMAT, ZERO, COUNT, ROWS, BIAS, NUM_FIELDS = range(11)
"""What a row of `Weights.maps` holds of a linear map: where its parts begin (codes, steps and levels in bytes, scales
and minima in float16, the bias in float32 or -1), its format's number, its zero, its inputs / 32 and its rows."""
QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN, EXPERT_GATE, EXPERT_UP, EXPERT_DOWN, NUM_MAPS = range(11)
"""The maps of a layer, in the order of its rows. Those of experts are one, expert after expert along its rows."""
MAP_NAMES = ("query", "key", "value", "output", "gate", "up", "down", "expert_gate", "expert_up", "expert_down")
ATTENTION_NORM, MLP_NORM, ATTENTION_OUTPUT_NORM, MLP_OUTPUT_NORM, QUERY_NORM, KEY_NORM, NUM_NORMS = range(7)
NORM_NAMES = ("attention_norm", "mlp_norm", "attention_output_norm", "mlp_output_norm", "query_norm", "key_norm")


class Weights(NamedTuple):
    """The mapped file, seen as three kinds of numbers, and where in it what is."""

    bytes: NDArray[np.uint8]
    halves: NDArray[np.uint16]
    floats: Floats
    maps: Ints
    """[layers * NUM_MAPS + 2, NUM_FIELDS]; the last two are the embedding and the head."""
    norms: Ints
    """[layers * NUM_NORMS + 1, 2]: where weight and bias begin (-1: there is none); the last is the final norm."""
    positions: int
    """Where learned positions begin; -1: none."""
    windows: Ints
    """[layers]: most positions that attention looks at."""
    rotations: Ints
    """[layers]: which turns queries and keys; -1: none."""
    cos: Floats
    """[rotations, positions, turned / 2], as is `sin`."""
    sin: Floats
    routers: Ints
    """[layers, 2]: where a router's weights [hidden, routes] begin, and its bias (-1: there is none)."""
    sinks: Floats
    """[layers, heads]: the score that each head has besides; -inf: it has none."""


def weights_of(file: WeightsFile, block: Block, context: int) -> Weights:
    each = [block.layer(layer) for layer in range(block.num_layers)]
    layers = [f"{layer}." for layer in range(block.num_layers)]
    head = "head" if "head" in file.matrices else "embedding"
    maps = [layer + name for layer in layers for name in MAP_NAMES] + ["embedding", head]
    norms = [layer + name for layer in layers for name in NORM_NAMES] + ["norm"]
    whole = file.bytes[: len(file.bytes) // 4 * 4]
    turns = len(block.rotations)
    cos, sin = (np.zeros((max(1, turns), context, block.turned // 2 if turns else 0), np.float32) for _ in range(2))
    return Weights(
        bytes=file.bytes,
        halves=whole.view(np.uint16),
        floats=whole.view(np.float32),
        maps=np.array([_fields(file, name) for name in maps]),
        norms=np.array([[file.place(f"{name}.weight"), file.place(f"{name}.bias")] for name in norms]),
        positions=file.place("positions"),
        windows=np.array([layer.window or context for layer in each]),
        rotations=np.array([layer.rotation if turns else -1 for layer in each]),
        cos=cos,
        sin=sin,
        routers=np.array([[file.place(f"{layer}router"), file.place(f"{layer}router.bias")] for layer in layers]),
        sinks=np.array([_sinks(whole, file.place(f"{layer}sinks"), block.num_heads) for layer in layers]),
    )


def _sinks(whole: NDArray[np.uint8], at: int, heads: int) -> Floats:
    return whole[4 * at :].view(np.float32)[:heads] if at >= 0 else np.full(heads, -np.inf, np.float32)


def _fields(file: WeightsFile, name: str) -> list[int]:
    found = file.matrices.get(name)
    if found is None:  # a layer without a gate, or without experts
        return [0] * NUM_FIELDS
    places = [found.codes, found.scales // 2, found.minima // 2, found.steps, found.levels]
    return [*places, found.format, found.zero, found.inputs // 32, found.rows, file.place(f"{name}.bias")]


class Cache(NamedTuple):
    """`PagedCache`'s memory for compiled code; sizes are counted in float16."""

    halves: NDArray[np.uint16]
    table: NDArray[np.int32]
    block: int
    score_row: int


def cache_view(cache: PagedCache, context: int) -> Cache:
    return Cache(cache.halves, cache.table, cache.block_bytes // 2, row_of_scores(context))


class Rows(NamedTuple):
    """The tokens of a pass: where each belongs, tiles of rows that attend together, rows whose logits are wanted."""

    tokens: Ints
    positions: Ints
    slots: Ints
    tile_first: Ints
    tile_size: Ints
    wanted: Ints


def empty_rows() -> Rows:
    return Rows(*(np.zeros(MAX_ROWS, np.int64) for _ in Rows._fields))


class Model(NamedTuple):
    """All that a pass needs, besides the kind of kernels."""

    shape: Shape
    weights: Weights
    cache: Cache
    rows: Rows
    scratch: Scratch
    board: threads.Board
    num_threads: int
