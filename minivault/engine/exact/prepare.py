"""A checkpoint directory or a GGUF file into a weights file, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.checkpoint import Checkpoint
from minivault.engine.exact.formats import Format
from minivault.engine.exact.gguf_file import Gguf, GgufTensors
from minivault.engine.exact.lora import Adapter
from minivault.engine.exact.shape import padded, unpaired
from minivault.engine.exact.support import why_not
from minivault.engine.exact.weights import Grid, WeightsWriter
from minivault.errors import ModelError
from minivault.families import Block, Config, Experts, Names, family_of, text_of
from minivault.families.block import head_norms, stream_norms

Floats = NDArray[np.float32]
Order = NDArray[np.int64]
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
    is_paired: bool
    """Rows of queries and keys that are turned together are neighbours."""

    def norm_offset(self, block: Block) -> float:
        """What the file's norm weights lack."""
        ...

    def unread(self) -> list[str]:
        """Tensors that nobody has asked for."""
        ...

    @property
    def quantization(self) -> str: ...

    def matrix(self, name: str, *, is_map: bool = True) -> Any: ...

    def vector(self, name: str) -> Floats | None: ...

    def expert(self, name: str, index: int) -> Any:
        """A matrix of one expert."""
        ...


def prepare_checkpoint(
    directory: Path, out: Path, progress: Progress | None = None, bits: int = 8, adapter: Adapter | None = None
) -> None:
    """Write `out` from config.json and safetensors files; `bits` 8 or 4. `progress(done, total)` counts layers.

    Raises ModelError, in a line that names the tensor, where it cannot."""
    whole = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config = text_of(whole)
    checkpoint = Checkpoint(directory, _checked(config).names, bits, adapter, is_part=config is not whole)
    _Preparation(config, checkpoint, out, progress).run()


def prepare_gguf(file: Gguf, config: Config, out: Path, progress: Progress | None = None) -> None:
    """Write `out` from an open GGUF file, on its own grid; `config` is what config.json says of it."""
    _checked(config)
    _Preparation(config, GgufTensors(file), out, progress).run()


def _checked(config: Config) -> Any:
    if reason := why_not(config):
        raise ModelError(reason)
    return family_of(config)


def _silent(_done: int, _total: int) -> None:
    """A Progress that nobody watches."""


class _Preparation:
    """One file being written."""

    def __init__(self, config: Config, tensors: Tensors, out: Path, progress: Progress | None) -> None:
        family = family_of(config)
        assert family is not None
        self.config, self.tensors, self.names, self.out = config, tensors, tensors.names, out
        self.block: Block = family.block(config)
        self.progress = progress or _silent

    def run(self) -> None:
        block, total = self.block, self.block.num_layers + 1
        with WeightsWriter(self.out) as self.file:
            for layer in range(block.num_layers):
                self.progress(layer, total)
                self._layer(f"{layer}.", self.names.layer.format(layer))
            self.progress(block.num_layers, total)
            self._ends()
            if left := self.tensors.unread():
                raise ModelError(f"tensor {left[0]} is none that the exact engine knows of in this kind of model")
            self.file.finish(self.config, self.tensors.quantization)
        self.progress(total, total)

    def _ends(self) -> None:
        block, names = self.block, self.names
        vocabulary = _in_order(block.vocabulary, 16)
        self._matrix("embedding", names.embedding, vocabulary, (block.vocabulary, block.hidden), is_map=False)
        if not block.is_tied:
            self._map("head", names.head, vocabulary, (block.vocabulary, block.hidden), is_map=False)
        self._norm("norm", names.norm, _in_order(block.hidden, 1))
        if names.positions:
            self.file.vector("positions", self._vector(f"{names.positions}.weight", block.positions * block.hidden))

    def _layer(self, to: str, source: str) -> None:
        block, names = self.block, self.names
        for part, name in stream_norms(block, names).items():
            self._norm(to + part, source + name, _in_order(block.hidden, 1))
        self._heads(to, source)
        hidden, mlp = _in_order(block.hidden, 16), _in_order(block.mlp, 32)
        self._map(f"{to}output", source + names.output, hidden, (block.hidden, block.attention))
        if names.sinks and block.has_sinks:
            self.file.vector(f"{to}sinks", self._vector(source + names.sinks, block.num_heads))
        if block.experts:
            self._experts(to, source, block.experts)
        if not block.mlp:
            return
        parts = ("gate", "up") if block.is_gated else ("up",)
        for index, part in enumerate(parts):
            name, count = names.ups[min(index, len(names.ups) - 1)], len(parts) // len(names.ups)
            rows = np.where(mlp < 0, -1, mlp + (index * block.mlp if count > 1 else 0))
            self._map(to + part, source + name, rows, (count * block.mlp, block.hidden))
        self._map(f"{to}down", source + names.down, hidden, (block.hidden, block.mlp))

    def _experts(self, to: str, source: str, experts: Experts) -> None:
        names, hidden, mlp = self.names, self.block.hidden, _in_order(experts.mlp, 32)
        self._router(to, source, experts)
        num = len(names.expert_ups)
        for index, part in enumerate(("gate", "up")):
            rows = mlp if num > 1 else mlp * 2 + index if names.is_alternating else mlp + index * experts.mlp
            shape = (2 // num * experts.mlp, hidden)
            name = source + names.expert_ups[min(index, num - 1)]
            self._expert_map(f"{to}expert_{part}", name, np.where(mlp < 0, -1, rows), shape)
        self._expert_map(f"{to}expert_down", source + names.expert_down, _in_order(hidden, 16), (hidden, experts.mlp))

    def _router(self, to: str, source: str, experts: Experts) -> None:
        """The weights of all experts side by side, and of the shared MLP, in floats."""
        names, hidden = self.names, self.block.hidden
        weights = np.zeros((hidden, padded(experts.num + experts.has_shared, 16)), np.float32)
        found = self._vector(f"{source}{names.router}.weight", experts.num * hidden)
        weights[:, : experts.num] = found.reshape(experts.num, hidden).T
        if experts.has_shared:
            weights[:, experts.num] = self._vector(f"{source}{names.shared_router}.weight", hidden)
        self.file.vector(f"{to}router", weights)
        bias = self.tensors.vector(f"{source}{names.router}.bias")
        if bias is not None:
            values = self._checked(f"{source}{names.router}.bias", bias, experts.num)
            self.file.vector(f"{to}router.bias", np.pad(values, (0, weights.shape[1] - experts.num)))

    def _expert_map(self, to: str, name: str, order: Order, shape: tuple[int, int]) -> None:
        """One matrix for all experts, the rows of each in `order`."""
        assert self.block.experts is not None
        num, found = self.block.experts.num, list[Matrix]()
        for index in range(num):
            source = self.tensors.expert(name, index)
            if source is None:
                raise ModelError(f"tensor {name.format(index)} is missing")
            if tuple(source.shape) != shape:
                raise ModelError(f"tensor {source.name} has shape {tuple(source.shape)}; the config asks for {shape}")
            found.append(source)
        slabs = (slab for source in found for slab in _slabs(source, order))
        self.file.matrix(to, found[0].format, found[0].zero, slabs)
        bias = self.tensors.vector(name + self.names.expert_suffixes[1])
        if bias is not None:
            each = self._checked(name + self.names.expert_suffixes[1], bias, num * shape[0]).reshape(num, -1)
            self.file.vector(f"{to}.bias", np.concatenate([_taken(one, order) for one in each]))

    def _heads(self, to: str, source: str) -> None:
        """Query, key and value, each head's rows padded to whole lanes, and the norms of queries and keys."""
        block, names = self.block, [source + name for name in self.names.qkv]
        counts = (block.num_heads, block.num_groups, block.num_groups)
        norms, norms_all = head_norms(block, self.names), block.head_norm == "all"
        first, total = 0, sum(counts) * block.head_size
        for index, (part, count) in enumerate(zip(("query", "key", "value"), counts, strict=True)):
            inside = self._inside(part)
            rows = count * block.head_size
            if len(names) > 1:
                self._map(to + part, names[index], _of_heads(count, inside), (rows, block.hidden))
            elif self.names.is_joined_by_head:
                order = _of_heads(count, inside, step=3 * block.head_size, first=index * block.head_size)
                self._map(to + part, names[0], order, (total, block.hidden))
            else:
                self._map(to + part, names[0], _of_heads(count, inside, first=first), (total, block.hidden))
            first += rows
            if part in norms:
                self._norm(f"{to}{part}_norm", source + norms[part], _of_heads(count if norms_all else 1, inside))

    def _inside(self, part: str) -> Order:
        """The numbers of a head in our order: those that are turned together half of `turned` apart."""
        block = self.block
        is_paired = part != "value" and (self.tensors.is_paired or block.is_interleaved)
        return unpaired(block.head_size, block.turned if is_paired else 0)

    def _map(self, to: str, name: str, order: Order, shape: tuple[int, int], *, is_map: bool = True) -> None:
        self._matrix(to, name, order, shape, is_map=is_map)
        bias = self.tensors.vector(f"{name}.bias")
        if bias is not None:
            self.file.vector(f"{to}.bias", _taken(self._checked(f"{name}.bias", bias, shape[0]), order))
        elif to.rpartition(".")[2] in self.block.biased:
            raise ModelError(f"tensor {name}.bias is missing; the config asks for it")

    def _matrix(self, to: str, name: str, order: Order, shape: tuple[int, int], *, is_map: bool = True) -> None:
        source: Matrix | None = self.tensors.matrix(name, is_map=is_map)
        if source is None:
            raise ModelError(f"tensor {name}.weight is missing")
        if tuple(source.shape) != shape:
            raise ModelError(f"tensor {source.name} has shape {tuple(source.shape)}; the config asks for {shape}")
        self.file.matrix(to, source.format, source.zero, _slabs(source, order))

    def _norm(self, to: str, name: str, order: Order) -> None:
        size = int(order.max()) + 1
        weight = self._vector(f"{name}.weight", size) + np.float32(self.tensors.norm_offset(self.block))
        self.file.vector(f"{to}.weight", _taken(weight, order))
        if self.names.has_biases or self.tensors.vector(f"{name}.bias") is not None:
            self.file.vector(f"{to}.bias", _taken(self._vector(f"{name}.bias", size), order))

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


def _of_heads(count: int, inside: Order, *, step: int = 0, first: int = 0) -> Order:
    """A file's rows in the order of our heads, each `step` after the one before, then -1 up to whole lanes."""
    size = len(inside)
    order = np.full((count, padded(size, 16)), -1)
    order[:, :size] = first + np.arange(count)[:, None] * (step or size) + inside
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
            grid = replace(grid, scales=scales, minima=minima)
        yield grid
