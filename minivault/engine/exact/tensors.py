"""What the forward pass reads and writes, as tuples of arrays for compiled code: sizes, weights, work, scratch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact import threads
from minivault.engine.exact.cache import PagedCache
from minivault.engine.exact.support import ACTIVATIONS
from minivault.engine.exact.turning import rotations
from minivault.engine.exact.weights import BLOCK, WeightsFile
from minivault.families import Block, Experts

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CODES, SCALES, MINIMA, STEPS, FORMAT, ZERO, COUNT, ROWS, BIAS, NUM_FIELDS = range(10)
"""What a row of `Weights.maps` holds of a linear map: where its parts begin (codes and steps in bytes, scales and
minima in float16, the bias in float32 or -1), its format's number, its zero, its inputs / 32 and its rows."""
QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN, EXPERT_GATE, EXPERT_UP, EXPERT_DOWN, NUM_MAPS = range(11)
"""The maps of a layer, in the order of its rows. Those of experts are one, expert after expert along its rows."""
MAP_NAMES = ("query", "key", "value", "output", "gate", "up", "down", "expert_gate", "expert_up", "expert_down")
ATTENTION_NORM, MLP_NORM, ATTENTION_OUTPUT_NORM, MLP_OUTPUT_NORM, QUERY_NORM, KEY_NORM, NUM_NORMS = range(7)
NORM_NAMES = ("attention_norm", "mlp_norm", "attention_output_norm", "mlp_output_norm", "query_norm", "key_norm")
BY_HEAD, ALL_HEADS = 1, 2
"""What `Shape.head_norm` says of queries and keys; 0: they are not normed."""

MAX_ROWS = 256
"""Most tokens of a pass."""
MAX_WANTED = 64
"""Most rows of logits of a pass."""
TILE_QUERIES = 12
"""Queries that read keys and values together: heads of a group times rows of a sequence."""


def padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def unpaired(size: int, turned: int) -> Ints:
    """The numbers of a head in our order, given that the first `turned` of them are turned together in pairs."""
    inside = np.arange(size)
    inside[:turned] = inside[:turned].reshape(-1, 2).T.reshape(-1)
    return inside


class Shape(NamedTuple):
    """`Block`'s numbers; `lanes` is the head size rounded up to 16."""

    layers: int
    hidden: int
    heads: int
    groups: int
    head_size: int
    lanes: int
    vocabulary: int
    activation: int
    eps: float
    is_gated: bool
    is_centred: bool
    is_parallel: bool
    is_scaled_by_depth: bool
    has_input_norms: bool
    has_output_norms: bool
    head_norm: int
    turned: int
    """Numbers of a head that are turned."""
    attention_scale: float
    attention_cap: float
    logit_cap: float
    embedding_scale: float
    residual_scale: float
    logit_scale: float
    experts: int
    """How many; 0: there are none."""
    experts_used: int
    expert_mlp: int
    """Width of an expert, rounded up to 32."""
    routes: int
    """Numbers of a row that a router gives, rounded up to 16."""
    is_share_normalized: bool
    has_shared_mlp: bool
    gate_slope: float
    gate_limit: float


def shape_of(block: Block) -> Shape:
    experts = block.experts or Experts(0, 0, 0)
    return Shape(
        layers=block.num_layers,
        hidden=block.hidden,
        heads=block.num_heads,
        groups=block.num_groups,
        head_size=block.head_size,
        lanes=padded(block.head_size, 16),
        vocabulary=block.vocabulary,
        activation=ACTIVATIONS[block.activation],
        eps=float(block.norm_eps),
        is_gated=block.is_gated,
        is_centred=block.is_centred,
        is_parallel=block.is_parallel,
        is_scaled_by_depth=block.is_scaled_by_depth,
        has_input_norms=block.has_input_norms,
        has_output_norms=block.has_output_norms,
        head_norm={"": 0, "head": BY_HEAD, "all": ALL_HEADS}[block.head_norm],
        turned=block.turned,
        attention_scale=block.attention_scale or 1 / math.sqrt(block.head_size),
        attention_cap=float(block.attention_cap),
        logit_cap=float(block.logit_cap),
        embedding_scale=float(block.embedding_scale),
        residual_scale=float(block.residual_scale),
        logit_scale=float(block.logit_scale),
        experts=experts.num,
        experts_used=experts.used,
        expert_mlp=padded(experts.mlp, 32),
        routes=padded(experts.num + experts.has_shared, 16),
        is_share_normalized=experts.is_normalized,
        has_shared_mlp=experts.has_shared,
        gate_slope=float(experts.gate_slope),
        gate_limit=float(experts.gate_limit),
    )


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
    turns = [rotations(turn, block.turned, context) for turn in block.rotations]
    cos, sin = np.stack(turns, axis=1) if turns else np.zeros((2, 1, 0, 0), np.float32)
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
    places = [found.codes, found.scales // 2, found.minima // 2, found.steps, found.format, found.zero]
    return [*places, found.inputs // 32, found.rows, file.place(f"{name}.bias")]


class Quantized(NamedTuple):
    """Activations [rows, inputs]: int8 codes; per 32 inputs scale, sum and scale * sum; and sums per 16."""

    codes: NDArray[np.int8]
    scales: Floats
    scaled_sums: Floats
    sums: NDArray[np.int32]
    half_sums: NDArray[np.int32]


def _quantized(inputs: int, rows: int = MAX_ROWS) -> Quantized:
    groups = inputs // 32
    return Quantized(
        np.zeros((rows, inputs), np.int8),
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
