"""A GGUF file opened for reading: typed access to its fields, and its tensors one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import ModelError
from minivault.models.gguf import header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@contextlib.contextmanager
def refuses_damage(path: Path) -> Iterator[None]:
    """Whatever reading a file with nonsense in it runs into becomes one ModelError."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ModelError(f"{path} is cut short or damaged ({reason}); download it again") from error


@dataclass(frozen=True, slots=True)
class GgufFile:
    path: Path
    reader: Any

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Map the file, inside `refuses_damage`. Raises ModelError when it is missing, not GGUF, or claims what it has
        not."""
        import gguf

        if not path.is_file():
            raise ModelError(f"{path} is not a file; give the path of a .gguf file")
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path} is not a GGUF file; download it again")
        header.check(path)
        return cls(path, gguf.GGUFReader(path))

    def value(self, key: str, default: Any = None) -> Any:
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

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
        return {tensor.name: tuple(int(n) for n in reversed(tensor.shape)) for tensor in self.reader.tensors}

    def tensors(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every tensor by name, dequantised to float32, one in memory at a time."""
        import gguf
        import numpy as np

        for tensor in self.reader.tensors:
            shape = tuple(int(n) for n in reversed(tensor.shape))
            yield (
                tensor.name,
                np.ascontiguousarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(shape),
            )
