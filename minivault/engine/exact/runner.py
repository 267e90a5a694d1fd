"""`ExactRunner`: the Runner protocol over a mapped weights file, a paged cache and a team of threads.

A row's logits depend on the model and the row's own tokens alone, to the last bit: not on the machine, its number of
threads, the kind of kernels, the other rows, the slot, nor on how a prompt was cut or what of it was cached.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numba.core import event
from numpy.typing import NDArray

from minivault.engine.exact import kinds, threads
from minivault.engine.exact.cache import BLOCK_TOKENS, PagedCache, Shared
from minivault.engine.exact.compiling import at_once, keep_in
from minivault.engine.exact.network import num_phases, work
from minivault.engine.exact.scratch import MAX_ROWS, MAX_WANTED, TILE_QUERIES, scratch_of
from minivault.engine.exact.shape import shape_of
from minivault.engine.exact.tensors import Model, cache_view, empty_rows, weights_of
from minivault.engine.exact.turning import is_long, rotations
from minivault.engine.exact.weights import WeightsFile
from minivault.engine.host import Machine
from minivault.engine.runner import Chunk
from minivault.errors import ModelError
from minivault.families import family_of

Logits = NDArray[np.float32]

VERSION = "1"
"""Of the arithmetic: whoever changes a bit of any logit changes it."""
CHUNK_TOKENS = 64
TURNED_AT_ONCE = 512
"""Positions whose angles are computed at once: some milliseconds."""


class ExactRunner:
    """Runs a prepared model for up to `num_slots` sequences of `context` positions."""

    name = "exact"
    chunk_tokens = CHUNK_TOKENS
    block_tokens = BLOCK_TOKENS
    can_copy = True
    num_drafts = 7
    """Eight rows share the unpacking of weights."""

    def __init__(
        self,
        path: Path,
        *,
        num_slots: int,
        context: int,
        cache_bytes: int | None = None,
        num_threads: int | None = None,
        cache_dir: Path | None = None,
        kind: type[kinds.Kind] | None = None,
    ) -> None:
        """See `exact.load`. `kind` forces one of the kinds of kernels that this CPU can run."""
        file = WeightsFile(path)
        family = family_of(file.header["config"])
        assert family is not None  # `prepare` saw to it
        block, shape = family.block(file.header["config"]), shape_of(family.block(file.header["config"]))
        if not block.rotations and context > block.positions:
            raise ModelError(f"context {context} exceeds the model's {block.positions} learned positions")
        self.num_slots, self.vocabulary_size = num_slots, block.vocabulary
        self.signature = {"runner": self.name, "version": VERSION, "quantization": file.quantization}
        if any(is_long(turn, context) for turn in block.rotations):
            self.signature["positions"] = "long"
        num_threads = num_threads or len(os.sched_getaffinity(0))
        halves = shape.layers * shape.groups * BLOCK_TOKENS * (shape.head_size + shape.lanes)
        self.cache = PagedCache(halves, num_slots, context, cache_bytes)
        self.context = context = self.cache.context
        self.num_blocks = self.cache.num_blocks
        self.bytes_per_slot = context * self.cache.block_bytes // BLOCK_TOKENS
        self._rows_per_tile = max(1, TILE_QUERIES // block.num_queries)
        self._kind = kinds.made(kind or kinds.kinds(Machine.here().flags)[0])
        self._model = Model(
            shape,
            weights_of(file, block, context),
            cache_view(self.cache, context),
            empty_rows(),
            scratch_of(block, shape, context, num_threads),
            threads.board(num_phases(shape)),
            num_threads,
        )
        self._block, self._num_turned = block, 0
        self._compile(cache_dir)
        self._team = threads.Team(num_threads, lambda number: self._work(number, 0, 0, 0, False), self._dismiss)

    def _compile(self, cache_dir: Path | None) -> None:
        """Have the code ready, by a step without rows, before anybody waits for it."""
        if cache_dir is not None:
            keep_in(cache_dir, work)
        with event.install_listener("numba:compile", _Announcer()), at_once(work):
            self._work(0, 0, 0, 0, False)

    def _work(self, thread: int, num: int, tiles: int, wanted: int, wants_logits: bool) -> None:
        work(self._kind, self._model, thread, num, tiles, wanted, wants_logits)

    def _dismiss(self) -> None:
        self._work(-1, 0, 0, 0, False)

    def forward(self, chunks: Sequence[Chunk]) -> Logits:
        """As the protocol says; chunks of prompts and sampled tokens may be mixed."""
        self._prepare(chunks)
        logits = np.empty((sum(chunk.num_logits for chunk in chunks), self.vocabulary_size), np.float32)
        done = 0
        for rows, wanted in _passes(chunks):
            self._run(rows, wanted, wants_logits=True)
            logits[done : done + len(wanted)] = self._model.scratch.logits[: len(wanted), : self.vocabulary_size]
            done += len(wanted)
        return logits

    def every_logit(self, tokens: Sequence[int]) -> Logits:
        """Logits after each of `tokens` [tokens, vocabulary], for measuring quality."""
        logits = self.forward([Chunk(self.num_slots, tokens, 0, is_prompt=True, num_logits=len(tokens))])
        self.release(self.num_slots)
        return logits

    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        chunk = Chunk(self.num_slots, tokens, 0, is_prompt=True)
        self._prepare([chunk])
        hidden, total = self._model.shape.hidden, np.zeros(self._model.shape.hidden)
        for rows, _ in _passes([chunk]):
            self._run(rows, list(range(len(rows))), wants_logits=False)
            for row in self._model.scratch.normed[: len(rows), :hidden]:
                total += row
        self.release(self.num_slots)
        length = math.sqrt(math.fsum(value * value for value in total.tolist()))
        return (total / (length or 1.0)).astype(np.float32)

    def release(self, slot: int) -> None:
        self.cache.release(slot)

    def copy_out(self, slot: int, start: int, stop: int) -> Shared:
        """References to the blocks of [start, stop), which are whole ones: nothing is copied."""
        return self.cache.share(slot, start, stop)

    def copy_in(self, slot: int, start: int, block: object) -> None:
        self.cache.adopt(slot, start, cast(Shared, block))

    @property
    def num_free_blocks(self) -> int:
        return self.cache.num_free

    def close(self) -> None:
        self._team.close()

    def _prepare(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            stop = chunk.start + len(chunk.tokens)
            if stop > self.context:
                raise ModelError(f"position {stop - 1} is beyond the context of {self.context}")
            if not 0 <= min(chunk.tokens) <= max(chunk.tokens) < self.vocabulary_size:
                raise ModelError(f"a token is outside the vocabulary of {self.vocabulary_size}")
            self.cache.prepare(chunk.slot, chunk.start, stop)
            while self._num_turned < stop:
                self._turn(range(self._num_turned, min(self._num_turned + TURNED_AT_ONCE, self.context)))

    def _turn(self, positions: range) -> None:
        """Compute the angles of further positions: few conversations come near what a model could read."""
        weights, size, at = self._model.weights, self._block.turned, slice(positions.start, positions.stop)
        for index, turn in enumerate(self._block.rotations):
            weights.cos[index, at], weights.sin[index, at] = rotations(turn, size, self.context, positions)
        self._num_turned = positions.stop

    def _run(self, rows: Sequence[Row], wanted: Sequence[int], *, wants_logits: bool) -> None:
        given, num = self._model.rows, len(rows)
        given.slots[:num], given.positions[:num], given.tokens[:num] = np.array(rows, np.int64).T
        given.wanted[: len(wanted)] = wanted
        tiles = list(_tiles(rows, self._rows_per_tile))
        given.tile_first[: len(tiles)], given.tile_size[: len(tiles)] = np.array(tiles, np.int64).T
        self._work(0, num, len(tiles), len(wanted), wants_logits)


Row = tuple[int, int, int]
"""Slot, position, token."""


def _passes(chunks: Sequence[Chunk]) -> Iterator[tuple[list[Row], list[int]]]:
    """All rows in order, so many as fit a pass, and after which of them logits are wanted."""
    rows, wanted = list[Row](), list[int]()
    for chunk in chunks:
        first = len(chunk.tokens) - chunk.num_logits
        for offset, token in enumerate(chunk.tokens):
            if len(rows) == MAX_ROWS or len(wanted) == MAX_WANTED:
                yield rows, wanted
                rows, wanted = [], []
            rows.append((chunk.slot, chunk.start + offset, token))
            if offset >= first:
                wanted.append(len(rows) - 1)
    yield rows, wanted


def _tiles(rows: Sequence[Row], most: int) -> Iterator[tuple[int, int]]:
    """First row and size of runs of successive positions of a slot, up to `most` rows each."""
    first = 0
    for at in range(1, len(rows) + 1):
        follows = at < len(rows) and rows[at][:2] == (rows[at - 1][0], rows[at - 1][1] + 1)
        if not follows or at - first == most:
            yield first, at - first
            first = at


class _Announcer(event.Listener):
    """Says once that code is being compiled, which takes long enough to wonder."""

    def __init__(self) -> None:
        self.has_spoken = False

    def on_start(self, event: Any) -> None:  # noqa: ARG002
        if not self.has_spoken:
            print(
                "compiling the exact engine's kernels for this CPU, once: about a minute", file=sys.stderr, flush=True
            )
        self.has_spoken = True

    def on_end(self, event: Any) -> None:
        pass
