"""Walks through a GGUF file's header before the library reads it, which believes every count that it finds.

After `check` every count, length and depth is one that the file has bytes for and a model has use for, so that reading
it takes bounded time and memory.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

from minivault.errors import ModelError

STRING, ARRAY = 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type."""
MAX_FIELDS = MAX_TENSORS = 1 << 16
MAX_VALUES = 2_000_000
"""Values in all arrays together; a string counts twice. The library keeps about half a kilobyte for each."""
MAX_NESTING = 3
MAX_DIMENSIONS = 8
MAX_VALUES_PER_BYTE = 8
"""The densest quantisation packs five weights into a byte."""


def check(path: Path) -> None:
    """Raises ModelError, in one line, for a header that the file cannot hold or that no model needs."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _Walk(data).whole()
        except ValueError as error:
            raise ModelError(f"{path} is cut short or damaged ({error}); download it again") from None


class _Walk:
    """A place in the header, and what has been counted on the way."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4
        self._order = "<"
        self._num_values = 0

    def whole(self) -> None:
        if self._number("I") & 0xFFFF == 0:  # written by a machine of the other byte order
            self._order = ">"
        num_tensors, num_fields = self._number("Q"), self._number("Q")
        _ensure(num_tensors <= MAX_TENSORS, f"it claims {num_tensors} tensors")
        _ensure(num_fields <= MAX_FIELDS, f"it claims {num_fields} fields")
        for _ in range(num_fields):
            self._string()
            self._value(self._number("I"), 0)
        for _ in range(num_tensors):
            self._tensor()

    def _value(self, kind: int, depth: int) -> None:
        if kind == STRING:
            self._string()
        elif kind == ARRAY:
            _ensure(depth < MAX_NESTING, "its arrays nest too deep")
            self._array(depth + 1)
        else:
            _ensure(kind in SIZES, f"it has a value of the unknown type {kind}")
            self._skip(SIZES[kind])

    def _array(self, depth: int) -> None:
        kind, length = self._number("I"), self._number("Q")
        self._num_values += length * (2 if kind in (STRING, ARRAY) else 1)
        _ensure(self._num_values <= MAX_VALUES, f"its arrays claim {self._num_values} values")
        if kind in SIZES:
            self._skip(SIZES[kind] * length)
            return
        for _ in range(length):
            self._value(kind, depth)

    def _tensor(self) -> None:
        self._string()
        num_dimensions = self._number("I")
        _ensure(num_dimensions <= MAX_DIMENSIONS, f"a tensor claims {num_dimensions} dimensions")
        size = math.prod([self._number("Q") for _ in range(num_dimensions)])
        _ensure(size <= MAX_VALUES_PER_BYTE * len(self._data), f"a tensor claims {size} weights")
        self._skip(SIZES[4])
        _ensure(self._number("Q") <= len(self._data), "a tensor begins after its end")

    def _string(self) -> None:
        self._skip(self._number("Q"))

    def _number(self, form: str) -> int:
        size = struct.calcsize(form)
        start = self._at
        self._skip(size)
        number: int = struct.unpack_from(self._order + form, self._data, start)[0]
        return number

    def _skip(self, size: int) -> None:
        _ensure(size <= len(self._data) - self._at, f"{size} bytes are missing at byte {self._at}")
        self._at += size


def _ensure(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)
