"""A weights file as float32 tensors under the hub's names: `prepare`, undone, for runners that want floats.

Each number is the one that the kernels compute with: scale * (code - zero), or scale * code + minimum.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.formats import FORMATS, Format
from minivault.engine.exact.shape import padded, unpaired
from minivault.engine.exact.weights import BLOCK, Grid, Matrix, WeightsFile
from minivault.families import Experts, family_of
from minivault.families.block import head_norms, stream_norms

Floats = NDArray[np.float32]


def unpack(path: Path) -> dict[str, Floats]:
    """Every tensor of a checkpoint that would be loaded by the file's config. Raises ModelError where it is none."""
    return dict(Unpacking(path).tensors())


class Unpacking:
    """Parts of a weights file by its own names, in floats, and all `tensors` by a checkpoint's."""

    def __init__(self, path: Path) -> None:
        self._file = WeightsFile(path)
        family = family_of(self._file.header["config"])
        assert family is not None  # `prepare` saw to it
        self._block, self._names = family.block(self._file.header["config"]), family.names

    def tensors(self) -> Iterator[tuple[str, Floats]]:
        block, names, prefix = self._block, self._names, self._names.prefix
        yield f"{prefix}{names.embedding}.weight", self.matrix("embedding")[: block.vocabulary, : block.hidden]
        if "head" in self._file.matrices:
            yield f"{names.head}.weight", self.matrix("head")[: block.vocabulary, : block.hidden]
            if self.has("head.bias"):
                yield f"{names.head}.bias", self.vector("head.bias")[: block.vocabulary]
        if names.positions:
            yield f"{prefix}{names.positions}.weight", self.vector("positions").reshape(-1, block.hidden)
        yield from self._norm("norm", prefix + names.norm)
        for layer in range(block.num_layers):
            yield from self._layer(f"{layer}.", prefix + names.layer.format(layer))

    def _layer(self, source: str, to: str) -> Iterator[tuple[str, Floats]]:
        block, names = self._block, self._names
        for part, name in stream_norms(block, names).items():
            if part != "mlp_norm" or name != names.attention_norm:  # that one serves both
                yield from self._norm(source + part, to + name)
        yield from self._heads(source, to)
        yield from self._map(f"{source}output", to + names.output, block.hidden, block.attention)
        if block.has_sinks and names.sinks:
            yield to + names.sinks, self.vector(f"{source}sinks")
        if block.experts:
            yield from self._experts(source, to, block.experts)
        if not block.mlp:
            return
        parts = ("gate", "up") if block.is_gated else ("up",)
        for name, sources in zip(
            names.ups, [parts] if len(names.ups) == 1 else [(part,) for part in parts], strict=True
        ):
            weights = [self.matrix(source + part)[: block.mlp, : block.hidden] for part in sources]
            yield f"{to}{name}.weight", self._as_stored(np.concatenate(weights))
            if self.has(f"{source}{sources[0]}.bias"):
                yield (
                    f"{to}{name}.bias",
                    np.concatenate([self.vector(f"{source}{p}.bias")[: block.mlp] for p in sources]),
                )
        yield from self._map(f"{source}down", to + names.down, block.hidden, block.mlp)

    def _experts(self, source: str, to: str, experts: Experts) -> Iterator[tuple[str, Floats]]:
        names, hidden, num, mlp = self._names, self._block.hidden, experts.num, experts.mlp
        router = self.vector(f"{source}router").reshape(hidden, -1)
        yield f"{to}{names.router}.weight", np.ascontiguousarray(router[:, :num].T)
        if experts.has_shared:
            yield f"{to}{names.shared_router}.weight", np.ascontiguousarray(router[:, num : num + 1].T)
        if self.has(f"{source}router.bias"):
            yield f"{to}{names.router}.bias", self.vector(f"{source}router.bias")[:num]
        ups = [self._of_experts(f"{source}expert_{part}", experts, mlp, hidden) for part in ("gate", "up")]
        down = self._of_experts(f"{source}expert_down", experts, hidden, mlp)
        if len(names.expert_ups) == 1:
            axis = 2 if names.is_alternating else 1
            weights, biases = (np.stack(pair, axis).reshape(num, 2 * mlp, -1) for pair in zip(*ups, strict=True))
            ups = [(weights, biases)]
        for name, (weights, biases) in zip((*names.expert_ups, names.expert_down), (*ups, down), strict=True):
            if "{}" in name:
                yield from ((f"{to}{name.format(index)}.weight", one) for index, one in enumerate(weights))
                continue
            stored = weights.swapaxes(1, 2) if names.are_experts_transposed else weights
            yield to + name + names.expert_suffixes[0], np.ascontiguousarray(stored)
            if biases.size:
                yield to + name + names.expert_suffixes[1], biases.reshape(num, -1)

    def _of_experts(self, source: str, experts: Experts, outputs: int, inputs: int) -> tuple[Floats, Floats]:
        """Weights [experts, outputs, inputs] and biases [experts, outputs, 1 or, where there are none, 0]."""
        weights = self.matrix(source).reshape(experts.num, -1, padded(inputs, 32))[:, :outputs, :inputs]
        if not self.has(f"{source}.bias"):
            return weights, np.zeros((experts.num, outputs, 0), np.float32)
        return weights, self.vector(f"{source}.bias").reshape(experts.num, -1, 1)[:, :outputs]

    def _heads(self, source: str, to: str) -> Iterator[tuple[str, Floats]]:
        """Query, key and value as a checkpoint has them, joined where the family joins them, and their norms."""
        parts = ("query", "key", "value")
        weights = [self._as_in_checkpoints(self.matrix(source + part)[:, : self._block.hidden], part) for part in parts]
        has_biases = self.has(f"{source}query.bias")
        biases = [self._as_in_checkpoints(self.vector(f"{source}{part}.bias"), part) for part in parts if has_biases]
        if len(self._names.qkv) == 1:
            weights, biases = [self._joined(weights)], [self._joined(biases)] if biases else []
        for name, weight in zip(self._names.qkv, weights, strict=True):
            yield f"{to}{name}.weight", self._as_stored(weight)
        for name, bias in zip(self._names.qkv, biases, strict=False):
            yield f"{to}{name}.bias", bias
        for part, name in head_norms(self._block, self._names).items():
            weight = self._as_in_checkpoints(self.vector(f"{source}{part}_norm.weight"), part)
            yield f"{to}{name}.weight", weight - np.float32(self._block.norm_offset)

    def _as_in_checkpoints(self, rows: Floats, part: str) -> Floats:
        """Rows of heads without those that fill lanes, in the order of the family's checkpoints."""
        block = self._block
        is_paired = block.is_interleaved and part != "value"
        back = np.argsort(unpaired(block.head_size, block.turned if is_paired else 0))
        kept = rows.reshape(-1, padded(block.head_size, BLOCK), *rows.shape[1:])[:, back]
        return kept.reshape(-1, *rows.shape[1:])

    def _joined(self, parts: list[Floats]) -> Floats:
        if not self._names.is_joined_by_head:
            return np.concatenate(parts)
        size = self._block.head_size
        heads = [part.reshape(-1, size, *part.shape[1:]) for part in parts]
        return np.concatenate(heads, axis=1).reshape(-1, *parts[0].shape[1:])

    def _map(self, source: str, to: str, outputs: int, inputs: int) -> Iterator[tuple[str, Floats]]:
        yield f"{to}.weight", self._as_stored(self.matrix(source)[:outputs, :inputs])
        if self.has(f"{source}.bias"):
            yield f"{to}.bias", self.vector(f"{source}.bias")[:outputs]

    def _norm(self, source: str, to: str) -> Iterator[tuple[str, Floats]]:
        yield f"{to}.weight", self.vector(f"{source}.weight") - np.float32(self._block.norm_offset)
        if self.has(f"{source}.bias"):
            yield f"{to}.bias", self.vector(f"{source}.bias")

    def _as_stored(self, weight: Floats) -> Floats:
        return np.ascontiguousarray(weight.T if self._names.is_transposed else weight)

    def has(self, vector: str) -> bool:
        return vector in self._file.header["vectors"]

    def vector(self, name: str) -> Floats:
        at, size = self._file.header["vectors"][name]
        return self._file.bytes[at : at + 4 * size].view(np.float32).copy()

    def matrix(self, name: str) -> Floats:
        """[rows, inputs], with all that fills up blocks."""
        matrix = self._file.matrices[name]
        form, blocks, bytes_ = FORMATS[matrix.format], matrix.rows // BLOCK, self._file.bytes
        packed = bytes_[matrix.codes :][: matrix.rows * matrix.inputs * form.bits // 8]
        pieces = packed.reshape(blocks, -1, BLOCK, 4).transpose(0, 2, 1, 3)
        codes = unpacked(pieces, form.bits)
        if form.has_levels:
            codes = bytes_[matrix.levels :][:16][codes]
        groups = codes.reshape(matrix.rows, -1, form.group).astype(np.float32)
        scales, *minima = (part[..., None].astype(np.float32) for part in self._grid(matrix, form).of_groups)
        values = groups * scales + minima[0] if minima else (groups - np.float32(matrix.zero)) * scales
        return values.reshape(matrix.rows, matrix.inputs)

    def _grid(self, matrix: Matrix, form: Format) -> Grid:
        """All but the codes."""
        groups, wide = matrix.inputs // form.group, matrix.inputs // (256 if form.is_nested else form.group)
        scales = self._lanes(matrix, matrix.scales, wide, np.float16)
        minima = self._lanes(matrix, matrix.minima, wide, np.float16) if form.has_minima else None
        steps = self._lanes(matrix, matrix.steps, groups * form.num_factors, np.int8) if form.is_nested else None
        return Grid(
            np.zeros(0, np.uint8), scales, minima, None if steps is None else steps.reshape(matrix.rows, groups, -1)
        )

    def _lanes(self, matrix: Matrix, at: int, num: int, kind: Any) -> NDArray[Any]:
        """[rows, num], of what lies in the file as [block, num, 16]."""
        size = np.dtype(kind).itemsize * matrix.rows * num
        found = self._file.bytes[at : at + size].view(kind)
        return found.reshape(-1, num, BLOCK).transpose(0, 2, 1).reshape(matrix.rows, num)


def unpacked(pieces: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of pieces [blocks, 16, pieces, 4]."""
    if bits == 8:
        return pieces
    if bits == 4:
        return np.stack([pieces & 15, pieces >> 4], axis=3)
    threes = pieces.reshape(*pieces.shape[:2], -1, 3, 4)
    low = np.stack([threes[..., :2, :] & 15, threes[..., :2, :] >> 4], axis=4).reshape(*threes.shape[:3], 4, 4)
    return low | (threes[..., 2:, :] >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3) << np.uint8(4)
