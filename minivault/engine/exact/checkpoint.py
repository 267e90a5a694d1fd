"""Tensors of a checkpoint directory's safetensors files, mapped, as float32; no library.

Format: 8 bytes little-endian header length, a JSON header (name → dtype, shape, offsets), then the tensors' bytes.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.formats import Format
from minivault.engine.exact.grids import FITTED, PACKINGS, fitted
from minivault.engine.exact.weights import Grid
from minivault.errors import ModelError
from minivault.families import Block, Names

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def _widened(values: NDArray[Any]) -> Floats:
    return (values.astype(np.uint32) << 16).view(np.float32)


_TABLES = (".inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")


_TYPES: dict[str, tuple[str, Callable[[NDArray[Any]], Floats]]] = {
    "F32": ("<f4", lambda values: values.astype(np.float32)),
    "F16": ("<f2", lambda values: values.astype(np.float32)),
    "BF16": ("<u2", _widened),
}


class FloatRows:
    """A matrix of floats whose rows get a grid of `bits`."""

    def __init__(self, name: str, values: NDArray[Any], bits: int, to_float: Callable[[NDArray[Any]], Floats]) -> None:
        self.name, self.shape, self._values, self._bits, self._to_float = name, values.shape, values, bits, to_float
        self.format: Format
        self.format, self.zero = FITTED[bits]

    def grid(self, rows: NDArray[np.int64]) -> Grid:
        values = self._to_float(np.ascontiguousarray(self._values[rows]))
        if not np.isfinite(values).all():
            raise ModelError(f"tensor {self.name} holds NaN or infinite values")
        with np.errstate(over="ignore"):
            grid = fitted(values, self._bits)
        if not grid.is_finite:
            raise ModelError(f"tensor {self.name} holds values too large for float16 scales")
        return grid


class Fours:
    """A matrix of 4-bit floats, as gpt-oss has its experts: bytes [rows, groups, 16], two neighbours in each, the first
    in its low half; and exponents [rows, groups]."""

    def __init__(self, name: str, blocks: Bytes, scales: Bytes) -> None:
        rows, groups, _ = blocks.shape
        self.name, self.shape, self._blocks, self._scales = name, (rows, 32 * groups), blocks, scales
        self._packing = PACKINGS["MXFP4"]
        self.format, self.zero = self._packing.format, self._packing.zero

    def grid(self, rows: NDArray[np.int64]) -> Grid:
        packed = self._blocks[rows]
        codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], 2, 16)
        halves = codes[..., 0, :] | codes[..., 1, :] << np.uint8(4)
        blocks = np.concatenate([self._scales[rows][..., None], halves], axis=-1)
        grid = self._packing.grid(blocks.reshape(len(rows), -1))
        if not grid.is_finite:
            raise ModelError(f"tensor {self.name} holds values too large for float16 scales")
        return grid


class Checkpoint:
    """The tensors by the family's names, with or without its prefix."""

    def __init__(self, directory: Path, names: Names, bits: int) -> None:
        self.names, self._bits, self.is_paired = names, bits, False
        self._read: set[str] = set()
        self.quantization = f"{bits}-bit"
        self._found: dict[str, tuple[NDArray[np.uint8], dict[str, Any]]] = {}
        for path in sorted(directory.glob("*.safetensors")):
            self._open(path)
        if not self._found:
            raise ModelError(f"{directory} holds no .safetensors file")

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            whole = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        start = 8 + int.from_bytes(whole[:8].tobytes(), "little")
        try:
            header = json.loads(whole[8:start].tobytes())
        except ValueError as error:
            raise ModelError(f"{path} is no safetensors file, or damaged") from error
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                self._found[name.removeprefix(self.names.prefix)] = whole[start + first : start + last], entry

    def _raw(self, name: str) -> tuple[NDArray[Any], Callable[[NDArray[Any]], Floats]] | None:
        if name not in self._found:
            return None
        self._read.add(name)
        data, entry = self._found[name]
        kind = entry["dtype"]
        if kind not in _TYPES:
            raise ModelError(f"tensor {name} has type {kind}, which the exact engine does not read")
        return data.view(_TYPES[kind][0]).reshape(entry["shape"]), _TYPES[kind][1]

    def norm_offset(self, block: Block) -> float:
        return block.norm_offset

    def unread(self) -> list[str]:
        """All but tables that some checkpoints carry and every reader makes itself, and a head that is tied."""
        names = self._found.keys() - self._read - {f"{self.names.head}.weight"}
        return sorted(name for name in names if not name.endswith(_TABLES))

    def matrix(self, name: str, *, is_map: bool = True) -> FloatRows | None:
        """`name`.weight, its rows the outputs."""
        found = self._raw(f"{name}.weight")
        if found is None:
            return None
        values = found[0].T if is_map and self.names.is_transposed else found[0]
        return FloatRows(f"{name}.weight", values, 8 if not is_map else self._bits, found[1])

    def expert(self, name: str, index: int) -> FloatRows | Fours | None:
        """One expert's matrix: a tensor of its own, or its part of one of all."""
        if "{}" in name:
            return self.matrix(name.format(index))
        label = f"{name}[{index}]"
        if f"{name}_blocks" in self._found:
            return Fours(label, *(self._bytes(f"{name}_{part}")[index] for part in ("blocks", "scales")))
        found = self._raw(name + self.names.expert_suffixes[0])
        if found is None or not index < len(found[0]) or found[0].ndim != 3:
            return None
        values = found[0][index].T if self.names.are_experts_transposed else found[0][index]
        return FloatRows(label, values, self._bits, found[1])

    def _bytes(self, name: str) -> Bytes:
        if name not in self._found:
            raise ModelError(f"tensor {name} is missing")
        self._read.add(name)
        data, entry = self._found[name]
        if entry["dtype"] != "U8":
            raise ModelError(f"tensor {name} has type {entry['dtype']}, not U8")
        return data.reshape(entry["shape"])

    def vector(self, name: str) -> Floats | None:
        """A tensor as float32."""
        found = self._raw(name)
        return None if found is None else found[1](found[0])
