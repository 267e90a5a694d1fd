"""The weights file: what `prepare` makes of a model once, mapped into memory and shared by every process that runs it.

The bytes `MAGIC`, where the header begins and how long it is; then everything at multiples of 64 bytes, as the kernels
want it; last the header, JSON: version, config, quantisation, and where each matrix and vector is.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.formats import FORMATS, NUMBERS, Format
from minivault.errors import ModelError

MAGIC = b"minivault-exact\n"
VERSION = 1
ALIGNMENT = 64
BLOCK = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """Some rows of a matrix: codes [rows, inputs] and per group scales, and minima where the format has them. With
    `steps` [rows, groups, 1 or 2] a group's are these times scales and minima of 256 inputs. With `levels` [16] codes
    are numbers of these."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    minima: NDArray[np.float16] | None = None
    steps: NDArray[np.int8] | None = None
    levels: NDArray[np.uint8] | None = None

    @property
    def of_groups(self) -> list[NDArray[np.float16]]:
        """Scales of all groups [rows, groups], and minima where there are any."""
        parts = [part for part in (self.scales, self.minima) if part is not None]
        if self.steps is None:
            return parts
        wide = [np.repeat(part.astype(np.float32), self.steps.shape[1] // part.shape[1], axis=1) for part in parts]
        with np.errstate(over="ignore"):
            return [(part * self.steps[..., index]).astype(np.float16) for index, part in enumerate(wide)]

    @property
    def is_finite(self) -> bool:
        return all(np.isfinite(part).all() for part in self.of_groups)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Where a matrix lies in the file, in bytes, and what it is."""

    rows: int
    """Padded ones included: a multiple of 16."""
    inputs: int
    """The same, of 32."""
    format: int
    zero: int
    codes: int
    scales: int
    minima: int = 0
    steps: int = 0
    levels: int = 0


class WeightsWriter:
    """Writes `path` whole or not at all: use as a context, and `finish` at its end."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._matrices: dict[str, Matrix] = {}
        self._vectors: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> WeightsWriter:
        self._file: BinaryIO = self._part.open("wb")
        self._file.write(b"\0" * ALIGNMENT)
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    def matrix(self, name: str, form: Format, zero: int, slabs: Iterable[Grid]) -> None:
        """Add a matrix, whole blocks of 16 rows at a time."""
        codes, rows, inputs = self._align(), 0, 0
        scales, minima, steps, levels = list[bytes](), list[bytes](), list[bytes](), list[bytes]()
        of_scale = 256 if form.is_nested else form.group
        for slab in slabs:
            rows, inputs = rows + len(slab.codes), -(-slab.codes.shape[1] // 32) * 32
            self._file.write(_packed(slab.codes, form))
            scales.append(_in_lanes(slab.scales, inputs // of_scale))
            if slab.minima is not None:
                minima.append(_in_lanes(slab.minima, inputs // of_scale))
            if slab.steps is not None:
                each = slab.steps.reshape(len(slab.codes), -1)
                steps.append(_in_lanes(each, inputs // form.group * form.num_factors))
            if slab.levels is not None:
                levels = [slab.levels.tobytes()]
        at = [self._bytes(part) if part else 0 for part in (scales, minima, steps, levels)]
        self._matrices[name] = Matrix(rows, inputs, NUMBERS[form], zero, codes, *at)

    def vector(self, name: str, values: NDArray[np.float32]) -> None:
        """Add float32 numbers, flat."""
        self._vectors[name] = self._bytes([np.ascontiguousarray(values, np.float32).tobytes()]), values.size

    def finish(self, config: Mapping[str, Any], quantization: str) -> None:
        """Write the header."""
        header = {
            "version": VERSION,
            "config": dict(config),
            "quantization": quantization,
            "matrices": {name: asdict(matrix) for name, matrix in self._matrices.items()},
            "vectors": self._vectors,
        }
        start, text = self._align(), json.dumps(header).encode()
        self._file.write(text)
        self._file.seek(0)
        self._file.write(MAGIC + start.to_bytes(8, "little") + len(text).to_bytes(8, "little"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _align(self) -> int:
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
        return self._file.tell()

    def _bytes(self, parts: Iterable[bytes]) -> int:
        start = self._align()
        for part in parts:
            self._file.write(part)
        return start


def _packed(codes: NDArray[np.uint8], form: Format) -> bytes:
    """Codes [rows, inputs] as the kernels read them: `reference` tells how."""
    rows, inputs = codes.shape
    padded = np.zeros((rows, -(-inputs // 32) * 32), np.uint8)
    padded[:, :inputs] = codes
    if form.bits == 8:
        return padded.reshape(rows // BLOCK, BLOCK, -1, 4).transpose(0, 2, 1, 3).tobytes()
    low = padded & 15
    eights = low.reshape(rows // BLOCK, BLOCK, -1, 2, 4)
    nibbles = (eights[:, :, :, 0] | (eights[:, :, :, 1] << 4)).transpose(0, 2, 1, 3)
    if form.bits == 4:
        return nibbles.tobytes()
    high = (padded >> 4).reshape(rows // BLOCK, BLOCK, -1, 4, 4) << np.array([0, 2, 4, 6], np.uint8)[:, None]
    pairs = np.bitwise_or.reduce(high, axis=3).transpose(0, 2, 1, 3)
    return np.concatenate([nibbles.reshape(rows // BLOCK, -1, 2, BLOCK, 4), pairs[:, :, None]], axis=2).tobytes()


def _in_lanes(values: NDArray[Any], groups: int) -> bytes:
    """[rows, groups] as [block, group, 16], padded with zeros."""
    rows, num = values.shape
    padded = np.zeros((rows, groups), values.dtype)
    padded[:, :num] = values
    return padded.reshape(rows // BLOCK, BLOCK, groups).transpose(0, 2, 1).tobytes()


@dataclass(slots=True)
class WeightsFile:
    """A weights file, mapped. Raises ModelError where it is none, or of another version."""

    path: Path
    bytes: NDArray[np.uint8] = field(init=False)
    header: dict[str, Any] = field(init=False)
    matrices: dict[str, Matrix] = field(init=False)

    def __post_init__(self) -> None:
        try:
            with self.path.open("rb") as file:
                self.bytes = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path} is not a prepared model: {error}; run `minivault models pull`") from error
        self.header = self._header()
        self.matrices = {name: Matrix(**found) for name, found in self.header["matrices"].items()}

    def _header(self) -> dict[str, Any]:
        start, length = (int.from_bytes(self.bytes[at : at + 8].tobytes(), "little") for at in (16, 24))
        text = self.bytes[start : start + length].tobytes()
        if self.bytes[:16].tobytes() != MAGIC or len(text) != length or not length:
            raise ModelError(f"{self.path} is not a prepared model, or cut short: prepare the model again")
        header: dict[str, Any] = json.loads(text)
        if any(matrix["format"] not in FORMATS for matrix in header["matrices"].values()):
            raise ModelError(f"{self.path} was prepared by an earlier version: pull or prepare the model again")
        if header["version"] != VERSION:
            raise ModelError(f"{self.path} has version {header['version']}, not {VERSION}: prepare the model again")
        return header

    @property
    def quantization(self) -> str:
        return str(self.header["quantization"])

    def place(self, vector: str) -> int:
        """Where a vector begins, counted in float32; -1 where there is none."""
        found = self.header["vectors"].get(vector)
        return -1 if found is None else int(found[0]) // 4
