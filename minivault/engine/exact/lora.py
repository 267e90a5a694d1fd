"""What a LoRA adapter adds to a checkpoint's matrices: scale * up @ down (Hu et al., 2021; files as PEFT writes them).

Sums are taken in one order, by additions and multiplications of float32 alone, so that a merged model has the same bits
wherever it is prepared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.safetensors import Safetensors
from minivault.errors import ModelError

Floats = NDArray[np.float32]
PREFIX = "base_model.model."
"""What PEFT puts before each name of the base."""
_MATRIX = re.compile(r"(.+)\.lora_([AB])\.weight")
_AT_ONCE = 1 << 17
"""Numbers that are summed at a time, so that they stay in a core's cache."""


class Adapter(Protocol):
    """Where an adapter is, and how its makers scale it."""

    @property
    def directory(self) -> Path: ...

    @property
    def scale(self) -> Callable[[int], float]:
        """Of a matrix of such a rank."""
        ...


class Change(NamedTuple):
    """What is added to one matrix: scale * up [outputs, rank] @ down [rank, inputs]."""

    up: Floats
    down: Floats
    scale: np.float32

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.up), self.down.shape[1]

    def of(self, rows: NDArray[np.int64]) -> Floats:
        """Of these outputs [rows, inputs]."""
        whole = np.empty((len(rows), self.down.shape[1]), np.float32)
        step = max(1, _AT_ONCE // whole.shape[1])
        for start in range(0, len(rows), step):
            part, up = whole[start : start + step], self.up[rows[start : start + step]]
            part[:] = 0
            for each, down in zip(up.T, self.down, strict=True):
                part += each[:, None] * down
        return whole * self.scale


class Lora:
    """An adapter's changes by the name of the map that they change, without `prefixes`. Raises ModelError, naming the
    tensor, for what is no pair of matrices."""

    def __init__(self, adapter: Adapter, *prefixes: str) -> None:
        self._scale, self._tensors = adapter.scale, Safetensors(adapter.directory, PREFIX, *prefixes)
        self._unused = set[str]()
        for tensor in sorted(self._tensors.names()):
            match = _MATRIX.fullmatch(tensor)
            if match is None:
                raise ModelError(f"tensor {tensor} of the adapter is no matrix of a plain LoRA")
            self._unused.add(match[1])

    def unused(self) -> list[str]:
        """Maps that nobody has asked for."""
        return sorted(self._unused)

    def change(self, name: str) -> Change | None:
        """Of the map `name`; None where it is left as it is."""
        if f"{name}.lora_A.weight" not in self._tensors and f"{name}.lora_B.weight" not in self._tensors:
            return None
        self._unused.discard(name)
        down, up = self._matrix(f"{name}.lora_A.weight"), self._matrix(f"{name}.lora_B.weight")
        if up.shape[1] != len(down):
            raise ModelError(f"the adapter's matrices of {name} have ranks {len(down)} and {up.shape[1]}")
        return Change(up, down, np.float32(self._scale(len(down))))

    def _matrix(self, name: str) -> Floats:
        found = self._tensors.floats(name)
        if found is None:
            raise ModelError(f"tensor {name} of the adapter is missing")
        if found[0].ndim != 2 or not found[0].size:
            raise ModelError(f"tensor {name} of the adapter has shape {found[0].shape}, which is no matrix")
        return found[1](found[0])


def changes(adapter: Adapter) -> dict[str, Change]:
    """All of an adapter's, by the whole names of the maps."""
    lora = Lora(adapter)
    return {name: change for name in lora.unused() if (change := lora.change(name)) is not None}
