"""Writes one safetensors file of float32 tensors, holding one tensor in memory at a time.

Format: 8 bytes little-endian header length, a JSON header (name → dtype, shape, offsets), then the tensors' bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import ModelError
from minivault.models.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, NDArray[np.float32]]],
    progress: Progress,
) -> None:
    """Write `tensors`, which come in the order of `shapes`. Raises ModelError when they are not what was announced."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        done = 0
        for (name, tensor), (expected, shape) in zip(tensors, shapes.items(), strict=True):
            if name != expected or tensor.shape != shape:
                raise ModelError(f"tensor {name} has shape {tensor.shape}, expected {expected} of shape {shape}")
            done += file.write(tensor.astype("<f4", copy=False).tobytes())
            progress("converting", done, end)
