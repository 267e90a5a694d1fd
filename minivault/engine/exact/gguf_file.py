"""Tensors of a GGUF file, as the file has them, and the config that its metadata amounts to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.checkpoint import FloatRows, _widened
from minivault.engine.exact.grids import PACKINGS
from minivault.engine.exact.weights import Grid
from minivault.errors import ModelError
from minivault.families import gpt2, llama

Floats = NDArray[np.float32]
NAMES = {"llama": llama.GGUF_NAMES, "qwen2": llama.GGUF_NAMES, "gpt2": gpt2.GGUF_NAMES}


class PackedRows:
    """A matrix on its own grid."""

    def __init__(self, name: str, tensor: Any) -> None:
        kind = tensor.tensor_type.name
        self.name, self._kind, self._packing, self._data = name, kind, PACKINGS[kind], tensor.data
        self.shape = tuple(int(size) for size in reversed(tensor.shape))
        self.format, self.zero = self._packing.format, self._packing.zero

    def grid(self, rows: NDArray[np.int64]) -> Grid:
        grid = self._packing.grid(self._data[rows])
        if not all(np.isfinite(part).all() for part in (grid.scales, grid.minima) if part is not None):
            raise ModelError(f"tensor {self.name} ({self._kind}) has NaN or infinite scales")
        return grid


class GgufTensors:
    """The same interface as `Checkpoint`. Raises ModelError for an architecture or a file that it cannot read."""

    def __init__(self, path: Path) -> None:
        import gguf

        try:
            self._reader: Any = gguf.GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise ModelError(f"{path} is not a GGUF file, or cut short: {error}") from error
        self.path, self.architecture = path, str(self._value("general.architecture"))
        if self.architecture not in NAMES:
            known = ", ".join(NAMES)
            raise ModelError(f"{path.name} has architecture {self.architecture!r}, not one of {known}")
        self.names = NAMES[self.architecture]
        self.is_split = self.architecture != "llama"
        """Each head's rows are its first halves, then its second ones; llama.cpp's llama has them in pairs."""
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    @property
    def quantization(self) -> str:
        return "+".join(sorted({tensor.tensor_type.name for tensor in self._tensors.values()} - {"F32"})) or "F32"

    def _value(self, key: str, default: Any = None) -> Any:
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    def config(self) -> dict[str, Any]:
        """What config.json would say."""
        keys = gpt2.GGUF_KEYS if self.architecture == "gpt2" else llama.GGUF_KEYS
        found = {name: self._value(key.replace("llama.", f"{self.architecture}.", 1)) for name, key in keys.items()}
        if found.pop("rope_scaling", None) not in (None, "none"):
            raise ModelError(f"{self.path.name} scales its rotary positions in a way that is not read from GGUF")
        rows = self._tensors[f"{self.names.embedding}.weight"].shape[1]
        given = {name: value for name, value in found.items() if value is not None}
        return given | {"model_type": self.architecture, "vocab_size": int(rows)}

    def matrix(self, name: str, *, is_map: bool = True) -> FloatRows | PackedRows | None:  # noqa: ARG002
        tensor = self._tensors.get(f"{name}.weight")
        if tensor is None:
            return None
        kind = tensor.tensor_type.name
        if kind in PACKINGS:
            return PackedRows(tensor.name, tensor)
        to_float = _widened if kind == "BF16" else lambda values: values.astype(np.float32)
        return FloatRows(tensor.name, self._floats(tensor), 8, to_float)

    def vector(self, name: str) -> Floats | None:
        tensor = self._tensors.get(name)
        if tensor is None:
            return None
        values = self._floats(tensor)
        return _widened(values) if values.dtype == np.uint16 else values.astype(np.float32)

    def _floats(self, tensor: Any) -> NDArray[Any]:
        kind = tensor.tensor_type.name
        if kind not in ("F32", "F16", "BF16"):
            raise ModelError(f"tensor {tensor.name} has type {kind}, which the exact engine does not read")
        shape = tuple(int(size) for size in reversed(tensor.shape))
        data = tensor.data.view(np.uint16) if kind == "BF16" else tensor.data
        return np.asarray(data).reshape(shape)
