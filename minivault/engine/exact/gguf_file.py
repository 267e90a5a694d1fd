"""Tensors of a GGUF file that somebody else has opened, as the file has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.checkpoint import FloatRows
from minivault.engine.exact.grids import PACKINGS
from minivault.engine.exact.safetensors import widened
from minivault.engine.exact.weights import Grid
from minivault.errors import ModelError
from minivault.families import GGUF, GGUF_FACTORS, Block, Names

Floats = NDArray[np.float32]
FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_ALL_EXPERTS = "_exps"
"""How a tensor's name ends that has all experts' parts of a layer; old files have one for each, and its number here."""


class Tensor(Protocol):
    """`type` as ggml calls it; `shape` outermost dimension first; `data` [rows, bytes of a row]."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def data(self) -> NDArray[np.uint8]: ...


class Gguf(Protocol):
    """A file, open."""

    @property
    def architecture(self) -> str: ...
    @property
    def by_name(self) -> Mapping[str, Any]: ...


def why_not_file(file: Gguf) -> str | None:
    """One line naming the architecture, or the tensor and its type, that the exact engine does not read."""
    if file.architecture not in GGUF:
        return f"architecture {file.architecture!r} is not one the exact engine reads ({', '.join(GGUF)})"
    known = _known(GGUF[file.architecture].gguf[file.architecture])
    tensors: list[Tensor] = list(file.by_name.values())
    for tensor in tensors:
        name = re.sub(r"^blk\.\d+\.", "", tensor.name).rpartition(".")[0]
        if re.sub(r"\.\d+$", _ALL_EXPERTS, name) not in known:
            return f"tensor {tensor.name} ({tensor.type}) is none that the exact engine knows of"
        if tensor.type not in (FLOATS if len(tensor.shape) == 1 else FLOATS | PACKINGS.keys()):
            return f"tensor {tensor.name} has type {tensor.type}, which the exact engine does not read"
    return None


def _known(names: Names) -> set[str | None]:
    sinks = (names.sinks or "").removesuffix(".weight")
    return {names.embedding, names.positions, names.norm, names.head, *names.of_layer, sinks, *GGUF_FACTORS}


class _Part(NamedTuple):
    """One expert's of a tensor that has those of all."""

    name: str
    type: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]


class PackedRows:
    """A matrix on its own grid."""

    def __init__(self, tensor: Tensor) -> None:
        self.name, self.shape, self._kind, self._data = tensor.name, tensor.shape, tensor.type, tensor.data
        self._packing = PACKINGS[tensor.type]
        self.format, self.zero = self._packing.format, self._packing.zero

    def grid(self, rows: NDArray[np.int64]) -> Grid:
        grid = self._packing.grid(self._data[rows])
        if not grid.is_finite:
            raise ModelError(f"tensor {self.name} ({self._kind}) has NaN or infinite scales")
        return grid


class GgufTensors:
    """The same interface as `Checkpoint`. Raises ModelError for a file that it cannot read."""

    def __init__(self, file: Gguf) -> None:
        if reason := why_not_file(file):
            raise ModelError(reason)
        family = GGUF[file.architecture]
        self.names = family.gguf[file.architecture]
        self.is_paired = file.architecture in family.gguf_paired
        self._tensors: Mapping[str, Tensor] = file.by_name
        self._read: set[str] = set()

    def norm_offset(self, block: Block) -> float:  # noqa: ARG002
        """Nothing: whoever wrote the file has added it."""
        return 0.0

    def unread(self) -> list[str]:
        elsewhere = {f"{name}.weight" for name in (self.names.head, *GGUF_FACTORS)}
        return sorted(self._tensors.keys() - self._read - elsewhere)

    @property
    def quantization(self) -> str:
        return "+".join(sorted({tensor.type for tensor in self._tensors.values()} - {"F32"})) or "F32"

    def matrix(self, name: str, *, is_map: bool = True) -> FloatRows | PackedRows | None:  # noqa: ARG002
        self._read.add(f"{name}.weight")
        tensor = self._tensors.get(f"{name}.weight")
        return None if tensor is None else _matrix(tensor)

    def expert(self, name: str, index: int) -> FloatRows | PackedRows | None:
        if f"{name}.weight" not in self._tensors:
            return self._lone_expert(name.removesuffix(_ALL_EXPERTS), index)
        self._read.add(f"{name}.weight")
        tensor = self._tensors[f"{name}.weight"]
        if len(tensor.shape) != 3 or not index < tensor.shape[0]:
            return None
        rows = tensor.shape[1]
        data = tensor.data[index * rows : (index + 1) * rows]
        return _matrix(_Part(f"{tensor.name}[{index}]", tensor.type, tensor.shape[1:], data))

    def _lone_expert(self, name: str, index: int) -> FloatRows | PackedRows | None:
        first, tensor = (self._tensors.get(f"{name}.{number}.weight") for number in (0, index))
        if first is None or tensor is None:
            return None
        if tensor.type != first.type:
            raise ModelError(f"tensor {tensor.name} has type {tensor.type}, and {first.name} has {first.type}")
        self._read.add(tensor.name)
        return _matrix(tensor)

    def vector(self, name: str) -> Floats | None:
        self._read.add(name)
        tensor = self._tensors.get(name)
        if tensor is None:
            return None
        values = _floats(tensor)
        return widened(values) if tensor.type == "BF16" else values.astype(np.float32)


def _matrix(tensor: Tensor) -> FloatRows | PackedRows:
    if tensor.type in PACKINGS:
        return PackedRows(tensor)
    to_float = widened if tensor.type == "BF16" else lambda values: values.astype(np.float32)
    return FloatRows(tensor.name, _floats(tensor), 8, to_float)


def _floats(tensor: Tensor) -> NDArray[Any]:
    if tensor.type not in FLOATS:
        raise ModelError(f"tensor {tensor.name} has type {tensor.type}, which the exact engine does not read")
    return tensor.data.view(FLOATS[tensor.type]).reshape(tensor.shape)
