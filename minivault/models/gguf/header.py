"""A GGUF file's header, read by hand: each byte once, every length held against what is there.

Format: ggml's docs/gguf.md, versions 2 and 3, little-endian. Lists of numbers stay where they are and are seen through
a view, so a header costs no more memory than its bytes and its strings.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
_MOST_FIELDS, _MOST_TENSORS, _MOST_DIMENSIONS = 1 << 16, 1 << 16, 4
_MOST_STRINGS = 1_000_000
"""In all lists together; they take some hundred bytes each. The largest vocabularies have 262,144 and twice as many
merges."""


class TensorEntry(NamedTuple):
    """`shape` has the outermost dimension first; `kind` is ggml's number of a type; `start` counts from the data's."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


class Header(NamedTuple):
    """`end` is where the header ends; the tensors' data begins at the next multiple of the file's alignment."""

    fields: dict[str, Any]
    tensors: list[TensorEntry]
    end: int


def read_header(data: memoryview) -> Header:
    """Read the header at the start of a whole file. Raises ValueError (a struct.error made one) for nonsense."""
    cursor = _Cursor(data)
    magic, version = bytes(cursor.take(4)), cursor.number("I")
    if magic != MAGIC or version not in VERSIONS:
        raise ValueError(f"not a little-endian GGUF file of version {' or '.join(map(str, VERSIONS))}")
    num_tensors, num_fields = cursor.count(_MOST_TENSORS), cursor.count(_MOST_FIELDS)
    fields = _distinct([(cursor.text(), cursor.value(cursor.number("I"))) for _ in range(num_fields)])
    tensors = [cursor.tensor() for _ in range(num_tensors)]
    _distinct([(tensor.name, None) for tensor in tensors])
    return Header(fields, tensors, cursor.at)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


class _Cursor:
    def __init__(self, data: memoryview) -> None:
        self._data, self.at, self._num_strings = data, 0, 0

    def take(self, num_bytes: int) -> memoryview:
        if num_bytes > len(self._data) - self.at:
            raise ValueError(f"{num_bytes} bytes are announced and {len(self._data) - self.at} are left")
        self.at += num_bytes
        return self._data[self.at - num_bytes : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]

    def count(self, most: int) -> int:
        count = int(self.number("Q"))
        if count > most:
            raise ValueError(f"{count} entries are announced; the most is {most}")
        return count

    def text(self) -> str:
        return str(self.take(self.number("Q")), "utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._list(self.number("I"), self.number("Q"))
        return self.number(_code(kind))

    def _list(self, kind: int, count: int) -> Any:
        """Strings as a list; numbers as a view of them. Lists of lists are in no model's file."""
        if kind == _STRING:
            return self._texts(count)
        code: Any = _code(kind)
        return self.take(count * struct.calcsize(code)).cast(code)

    def _texts(self, count: int) -> list[str]:
        self._num_strings += count
        if self._num_strings > _MOST_STRINGS or count > (len(self._data) - self.at) // _LENGTH.size:
            raise ValueError(f"{count} strings are announced, more than can follow or than a model needs")
        data, at, found = self._data, self.at, []
        for _ in range(count):
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(data, at)[0]
            found.append(str(data[start:at], "utf-8"))
            if at > len(data):
                raise ValueError("a string is cut short")
        self.at = at
        return found

    def tensor(self) -> TensorEntry:
        name, num_dimensions = self.text(), self.number("I")
        if num_dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"{name} has {num_dimensions} dimensions")
        sizes = [self.number("Q") for _ in range(num_dimensions)]
        return TensorEntry(name, tuple(reversed(sizes)), self.number("I"), self.number("Q"))


def _code(kind: int) -> str:
    if kind not in _CODES:
        raise ValueError(f"{kind} is no type of a field")
    return _CODES[kind]
