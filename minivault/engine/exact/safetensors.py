"""Tensors of a directory's safetensors files, mapped, as float32; no library.

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

from minivault.errors import ModelError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
ToFloat = Callable[[NDArray[Any]], Floats]


def widened(values: NDArray[Any]) -> Floats:
    """bfloat16, as 16-bit integers, as float32."""
    return (values.astype(np.uint32) << 16).view(np.float32)


_TYPES: dict[str, tuple[str, ToFloat]] = {
    "F32": ("<f4", lambda values: values.astype(np.float32)),
    "F16": ("<f2", lambda values: values.astype(np.float32)),
    "BF16": ("<u2", widened),
}


class Safetensors:
    """Tensors by their names, each without what `prefixes` it begins with; where `parts` are given, only those whose
    names begin so. Raises ModelError where there are none."""

    def __init__(self, directory: Path, *prefixes: str, parts: tuple[str, ...] = ()) -> None:
        self._prefixes, self._parts = prefixes, parts
        self._found: dict[str, tuple[Bytes, dict[str, Any]]] = {}
        self._read: set[str] = set()
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
            if name != "__metadata__" and (not self._parts or name.startswith(self._parts)):
                first, last = entry["data_offsets"]
                self._found[self._plain(name)] = whole[start + first : start + last], entry

    def _plain(self, name: str) -> str:
        for prefix in self._prefixes:
            name = name.removeprefix(prefix)
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def names(self) -> set[str]:
        return set(self._found)

    def unread(self) -> set[str]:
        """Tensors that nobody has asked for."""
        return self._found.keys() - self._read

    def floats(self, name: str) -> tuple[NDArray[Any], ToFloat] | None:
        """A tensor as its file has it, and how that becomes float32."""
        if name not in self._found:
            return None
        self._read.add(name)
        data, entry = self._found[name]
        kind = entry["dtype"]
        if kind not in _TYPES:
            raise ModelError(f"tensor {name} has type {kind}, which the exact engine does not read")
        return data.view(_TYPES[kind][0]).reshape(entry["shape"]), _TYPES[kind][1]

    def bytes(self, name: str) -> Bytes:
        """A tensor of bytes. Raises ModelError where it is missing, or of another type."""
        if name not in self._found:
            raise ModelError(f"tensor {name} is missing")
        self._read.add(name)
        data, entry = self._found[name]
        if entry["dtype"] != "U8":
            raise ModelError(f"tensor {name} has type {entry['dtype']}, not U8")
        return data.reshape(entry["shape"])
