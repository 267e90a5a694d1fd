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
from minivault.engine.exact.grids import FITTED, fitted
from minivault.engine.exact.weights import Grid
from minivault.errors import ModelError
from minivault.families import Block, Names

Floats = NDArray[np.float32]


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
        if not all(np.isfinite(part).all() for part in (grid.scales, grid.minima) if part is not None):
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

    def vector(self, name: str) -> Floats | None:
        """A tensor as float32."""
        found = self._raw(name)
        return None if found is None else found[1](found[0])
