"""A checkpoint directory or a GGUF file into a weights file, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.checkpoint import Checkpoint
from minivault.engine.exact.formats import Format
from minivault.engine.exact.gguf_file import GgufTensors
from minivault.engine.exact.maths import frequencies
from minivault.engine.exact.support import why_not
from minivault.engine.exact.tensors import padded
from minivault.engine.exact.weights import Grid, WeightsWriter
from minivault.errors import ModelError
from minivault.families import Block, Config, Names, family_of

Floats, Order = NDArray[np.float32], NDArray[np.int64]
Progress = Callable[[int, int], None]

SLAB = 4096
"""Rows in memory at a time."""


class Matrix(Protocol):
    """A matrix of a file, [outputs, inputs]."""

    name: str
    shape: tuple[int, ...]
    format: Format
    zero: int

    def grid(self, rows: Order) -> Grid: ...


class Tensors(Protocol):
    """A file's tensors by the names it uses."""

    names: Names
    quantization: str
    is_split: bool

    def matrix(self, name: str, *, is_map: bool = True) -> Any: ...

    def vector(self, name: str) -> Floats | None: ...


def prepare_checkpoint(directory: Path, out: Path, progress: Progress | None = None, bits: int = 8) -> None:
    """Write `out` from config.json and safetensors files; `bits` 8 or 4. `progress(done, total)` counts layers.

    Raises ModelError, in a line that names the tensor, where it cannot."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    family = _checked(config)
    _Preparation(config, Checkpoint(directory, family.names, bits), out, progress).run()


def prepare_gguf(file: Path, out: Path, progress: Progress | None = None) -> None:
    """Write `out` from a GGUF file, on its own grid."""
    tensors = GgufTensors(file)
    config = tensors.config()
    _checked(config)
    _Preparation(config, tensors, out, progress).run()


def _checked(config: Config) -> Any:
    if reason := why_not(config):
        raise ModelError(reason)
    return family_of(config)


class _Preparation:
    """One file being written."""

    def __init__(self, config: Config, tensors: Tensors, out: Path, progress: Progress | None) -> None:
        family = family_of(config)
        assert family is not None
        self.config, self.tensors, self.names, self.out = config, tensors, tensors.names, out
        self.block: Block = family.block(config)
        self.progress = progress or (lambda done, total: None)

    def run(self) -> None:
        block, total = self.block, self.block.num_layers + 1
        with WeightsWriter(self.out) as self.file:
            for layer in range(block.num_layers):
                self.progress(layer, total)
                self._layer(f"{layer}.", self.names.layer.format(layer))
            self.progress(block.num_layers, total)
            self._ends()
            turns = frequencies(block.rope, block.head_size) if block.rope else np.array([])
            self.file.finish(self.config, self.tensors.quantization, turns)
        self.progress(total, total)

    def _ends(self) -> None:
        block, names = self.block, self.names
        vocabulary = _in_order(block.vocabulary, 16)
        self._matrix("embedding", names.embedding, vocabulary, (block.vocabulary, block.hidden), is_map=False)
        if self.tensors.matrix(names.head, is_map=False) is not None and not self.config.get("tie_word_embeddings"):
            self._matrix("head", names.head, vocabulary, (block.vocabulary, block.hidden), is_map=False)
        self._norm("norm", names.norm)
        if names.positions:
            self.file.vector("positions", self._vector(f"{names.positions}.weight", block.positions * block.hidden))

    def _layer(self, to: str, source: str) -> None:
        block, names = self.block, self.names
        self._norm(f"{to}attention_norm", source + names.attention_norm)
        self._norm(f"{to}mlp_norm", source + names.mlp_norm)
        self._heads(to, source)
        hidden, mlp = _in_order(block.hidden, 16), _in_order(block.mlp, 32)
        self._map(f"{to}output", source + names.output, hidden, (block.hidden, block.attention))
        for part, name in zip(("gate", "up")[-len(names.ups) :], names.ups, strict=True):
            self._map(to + part, source + name, mlp, (block.mlp, block.hidden))
        self._map(f"{to}down", source + names.down, hidden, (block.hidden, block.mlp))

    def _heads(self, to: str, source: str) -> None:
        """Query, key and value, each head's rows padded to whole lanes."""
        block, names = self.block, [source + name for name in self.names.qkv]
        counts = (block.num_heads, block.num_groups, block.num_groups)
        first, total = 0, sum(counts) * block.head_size
        for index, (part, count) in enumerate(zip(("query", "key", "value"), counts, strict=True)):
            order = _of_heads(count, block.head_size, is_split=self.tensors.is_split or part == "value")
            rows = count * block.head_size
            if len(names) == 1:
                self._map(to + part, names[0], np.where(order < 0, -1, order + first), (total, block.hidden))
            else:
                self._map(to + part, names[index], order, (rows, block.hidden))
            first += rows

    def _map(self, to: str, name: str, order: Order, shape: tuple[int, int]) -> None:
        self._matrix(to, name, order, shape)
        bias = self.tensors.vector(f"{name}.bias")
        if bias is not None:
            self.file.vector(f"{to}.bias", _taken(self._checked(f"{name}.bias", bias, shape[0]), order))

    def _matrix(self, to: str, name: str, order: Order, shape: tuple[int, int], *, is_map: bool = True) -> None:
        source: Matrix | None = self.tensors.matrix(name, is_map=is_map)
        if source is None:
            raise ModelError(f"tensor {name}.weight is missing")
        if tuple(source.shape) != shape:
            raise ModelError(f"tensor {source.name} has shape {tuple(source.shape)}; the config asks for {shape}")
        self.file.matrix(to, source.format, source.zero, _slabs(source, order))

    def _norm(self, to: str, name: str) -> None:
        self.file.vector(f"{to}.weight", self._vector(f"{name}.weight", self.block.hidden))
        if self.names.has_biases:
            self.file.vector(f"{to}.bias", self._vector(f"{name}.bias", self.block.hidden))

    def _vector(self, name: str, size: int) -> Floats:
        values = self.tensors.vector(name)
        if values is None:
            raise ModelError(f"tensor {name} is missing")
        return self._checked(name, values, size)

    def _checked(self, name: str, values: Floats, size: int) -> Floats:
        if values.size != size:
            raise ModelError(f"tensor {name} has {values.size} numbers; the config asks for {size}")
        if not np.isfinite(values).all():
            raise ModelError(f"tensor {name} holds NaN or infinite values")
        return values.reshape(-1)


def _in_order(count: int, multiple: int) -> Order:
    """Rows 0, 1, …, and -1 for the rows that fill up the last block."""
    order = np.full(padded(count, multiple), -1)
    order[:count] = np.arange(count)
    return order


def _of_heads(count: int, size: int, *, is_split: bool) -> Order:
    """A file's rows in the order of our heads: first halves, then second ones, then -1 up to whole lanes."""
    inside = np.arange(size) if is_split else np.arange(size).reshape(-1, 2).T.reshape(-1)
    order = np.full((count, padded(size, 16)), -1)
    order[:, :size] = np.arange(count)[:, None] * size + inside
    return order.reshape(-1)


def _taken(values: Floats, order: Order) -> Floats:
    return np.where(order < 0, np.float32(0), values[np.maximum(order, 0)])


def _slabs(source: Matrix, order: Order) -> Iterator[Grid]:
    for start in range(0, len(order), SLAB):
        rows = order[start : start + SLAB]
        grid, is_padding = source.grid(np.maximum(rows, 0)), rows < 0
        if is_padding.any():
            scales = np.where(is_padding[:, None], np.float16(0), grid.scales)
            minima = None if grid.minima is None else np.where(is_padding[:, None], np.float16(0), grid.minima)
            grid = Grid(grid.codes, scales, minima)
        yield grid
