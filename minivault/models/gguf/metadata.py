"""A GGUF file opened for reading: typed access to its fields, and its tensors one at a time."""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import ModelError
from minivault.models.gguf.header import MAGIC, TensorEntry, read_header
from minivault.models.gguf.parts import parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@contextlib.contextmanager
def refuses_damage(path: Path) -> Iterator[None]:
    """Whatever reading a file with nonsense in it runs into becomes one ModelError."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError, struct.error) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ModelError(f"{path} is cut short or damaged ({reason}); download it again") from error


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor as the file has it. `data` is [rows, bytes of a row], mapped."""

    name: str
    type: str
    """As ggml calls it: F32, Q4_1 …"""
    shape: tuple[int, ...]
    """Outermost dimension first."""
    data: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class GgufFile:
    path: Path
    """Of a split file its first part."""
    fields: dict[str, Any]
    by_name: dict[str, GgufTensor]
    asked: set[str] = field(default_factory=set)
    """The fields that somebody has asked for."""

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Map the file, and the other parts of a split one. Raises ModelError when one is missing or not GGUF."""
        fields, by_name = dict[str, Any](), dict[str, GgufTensor]()
        files = parts(path)
        for part in files:
            with refuses_damage(part):
                of_part, tensors = _read(part)
                if twice := by_name.keys() & tensors.keys():
                    raise ValueError(f"{min(twice)} is in another part as well")
            fields = fields or of_part
            by_name |= tensors
        if (count := fields.get("split.count") or 1) != len(files):
            raise ModelError(
                f"{path.name} says that it is one of {count} parts: give them the names that they came with"
            )
        if (announced := fields.get("split.tensors.count", len(by_name))) != len(by_name):
            raise ModelError(
                f"the parts of {path.name} hold {len(by_name)} tensors of {announced}; download them again"
            )
        return cls(path, fields, by_name)

    def value(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return self.fields.get(key, default)

    def text(self, key: str) -> str:
        value = self.value(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> Any:
        """A number that must be there. Raises ModelError otherwise."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelError(f"{self.path.name} has no usable {key}; it cannot be converted")
        return value

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    @property
    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape, outermost dimension first."""
        return {name: tensor.shape for name, tensor in self.by_name.items()}

    @property
    def size_bytes(self) -> int:
        return sum(part.stat().st_size for part in parts(self.path))

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.by_name.values())

    def floats(self, name: str) -> NDArray[np.float32]:
        """A tensor, dequantised to float32."""
        import gguf
        import numpy as np

        tensor = self.by_name[name]
        values = gguf.dequantize(tensor.data, gguf.GGMLQuantizationType[tensor.type])
        return np.ascontiguousarray(values, dtype=np.float32).reshape(tensor.shape)

    def tensors(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every tensor by name, dequantised to float32, one in memory at a time."""
        for name in self.by_name:
            yield name, self.floats(name)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, GgufTensor]]:
    """Tensors follow each other without gaps, as every reader of the format asks: a type or a shape that is not the one
    that was written shows."""
    if not path.is_file():
        raise ModelError(f"{path} is not a file; give the path of a .gguf file")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ModelError(f"{path} is not a GGUF file; download it again")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    header = read_header(data)
    alignment = header.fields.get("general.alignment", 32)
    first = -(-header.end // alignment) * alignment
    found, at = dict[str, GgufTensor](), 0
    for entry in header.tensors:
        if entry.start != at:
            raise ValueError(f"{entry.name} begins at {entry.start}, and what is before it ends at {at}")
        tensor = found[entry.name] = _tensor(entry, data[first:])
        at += -(-tensor.data.nbytes // alignment) * alignment
    return header.fields, found


def _tensor(entry: TensorEntry, data: memoryview) -> GgufTensor:
    """Raises ValueError for a type that ggml does not have, or data that is not there."""
    import gguf
    import numpy as np

    kind = gguf.GGMLQuantizationType(entry.kind)
    per_block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    inputs = entry.shape[-1] if entry.shape else 1
    row_bytes, rest = divmod(inputs * block_bytes, per_block)
    rows = math.prod(entry.shape[:-1])
    if rest or not inputs or not rows:
        raise ValueError(f"{entry.name} has shape {entry.shape}, which {kind.name} does not fit")
    stop = entry.start + rows * row_bytes
    if stop > len(data):
        raise ValueError(f"{entry.name} ends {stop - len(data)} bytes beyond the file")
    found = np.frombuffer(data[entry.start : stop], np.uint8).reshape(rows, row_bytes)
    return GgufTensor(entry.name, kind.name, entry.shape, found)
