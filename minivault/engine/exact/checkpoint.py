"""A checkpoint directory as `prepare` reads it: matrices of floats, which get a grid, or on a grid of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.formats import Format
from minivault.engine.exact.grids import FITTED, PACKINGS, fitted
from minivault.engine.exact.lora import Adapter, Change, Lora
from minivault.engine.exact.safetensors import Bytes, Floats, Safetensors, ToFloat
from minivault.engine.exact.weights import Grid
from minivault.errors import ModelError
from minivault.families import TABLES, TEXT_PREFIXES, Block, Names


class FloatRows:
    """A matrix of floats, with what an adapter adds to it, whose rows get a grid of `bits`."""

    def __init__(
        self, name: str, values: NDArray[Any], bits: int, to_float: ToFloat, change: Change | None = None
    ) -> None:
        self.name, self.shape, self._values, self._bits, self._to_float = name, values.shape, values, bits, to_float
        self._change = change
        if change is not None and change.shape != values.shape:
            raise ModelError(f"tensor {name} has shape {values.shape}; the adapter is for one of {change.shape}")
        self.format: Format
        self.format, self.zero = FITTED[bits]

    def grid(self, rows: NDArray[np.int64]) -> Grid:
        values = self._to_float(np.ascontiguousarray(self._values[rows]))
        with np.errstate(over="ignore", invalid="ignore"):
            values = values if self._change is None else values + self._change.of(rows)
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
    """The tensors by the family's names, with or without its prefix, and with an adapter's changes; of a larger model
    (`is_part`) those of its text model."""

    def __init__(
        self, directory: Path, names: Names, bits: int, adapter: Adapter | None = None, *, is_part: bool = False
    ) -> None:
        self.names, self._bits, self.is_paired = names, bits, False
        self.quantization = f"{bits}-bit"
        parts = TEXT_PREFIXES if is_part else ()
        self._tensors = Safetensors(directory, *parts, names.prefix, parts=(*parts, names.head) if parts else ())
        self._lora = Lora(adapter, *parts, names.prefix) if adapter else None

    def norm_offset(self, block: Block) -> float:
        return block.norm_offset

    def unread(self) -> list[str]:
        """All but tables that some checkpoints carry and every reader makes itself, and a head that is tied."""
        if self._lora and (left := self._lora.unused()):
            raise ModelError(f"the adapter changes {left[0]}, which is no map of its own in this model")
        names = self._tensors.unread() - {f"{self.names.head}.weight"}
        return sorted(name for name in names if not name.endswith(TABLES))

    def matrix(self, name: str, *, is_map: bool = True) -> FloatRows | None:
        """`name`.weight, its rows the outputs."""
        found = self._tensors.floats(f"{name}.weight")
        if found is None:
            return None
        values = found[0].T if is_map and self.names.is_transposed else found[0]
        change = self._lora.change(name) if self._lora else None
        return FloatRows(f"{name}.weight", values, 8 if not is_map else self._bits, found[1], change)

    def expert(self, name: str, index: int) -> FloatRows | Fours | None:
        """One expert's matrix: a tensor of its own, or its part of one of all."""
        if "{}" in name:
            return self.matrix(name.format(index))
        label = f"{name}[{index}]"
        if f"{name}_blocks" in self._tensors:
            return Fours(label, *(self._tensors.bytes(f"{name}_{part}")[index] for part in ("blocks", "scales")))
        found = self._tensors.floats(name + self.names.expert_suffixes[0])
        if found is None or not index < len(found[0]) or found[0].ndim != 3:
            return None
        values = found[0][index].T if self.names.are_experts_transposed else found[0][index]
        return FloatRows(label, values, self._bits, found[1])

    def vector(self, name: str) -> Floats | None:
        """A tensor as float32."""
        found = self._tensors.floats(name)
        return None if found is None else found[1](found[0])
