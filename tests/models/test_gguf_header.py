"""What a GGUF header claims is bounded before anything is read: one line, little time, little memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import ModelError
from minivault.models.gguf import convert
from minivault.models.gguf.metadata import GgufFile, refuses_damage

U32, STRING, ARRAY = 4, 8, 9
HUGE = [2**31, 2**32, 2**60, 2**63, 2**64 - 1]


def number(value: int) -> bytes:
    return struct.pack("<Q", value)


def small(value: int) -> bytes:
    return struct.pack("<I", value)


def string(text: bytes = b"k", length: int | None = None) -> bytes:
    return number(len(text) if length is None else length) + text


def file_of(*fields: bytes, num_tensors: int = 0, num_fields: int | None = None, tensors: bytes = b"") -> bytes:
    counts = number(num_tensors) + number(len(fields) if num_fields is None else num_fields)
    return b"GGUF" + small(3) + counts + b"".join(fields) + tensors


def array(kind: int, length: int, content: bytes = b"") -> bytes:
    return string() + small(ARRAY) + small(kind) + number(length) + content


def tensor(*dimensions: int, kind: int = 0, offset: int = 0) -> bytes:
    return string() + small(len(dimensions)) + b"".join(map(number, dimensions)) + small(kind) + number(offset)


NESTED = string() + small(ARRAY) + (small(ARRAY) + number(1)) * 3000 + small(U32) + number(0)
CLAIMS = {
    "nested arrays": file_of(NESTED),
    "arrays of empty strings": file_of(array(STRING, 1_100_000, number(0) * 1_100_000)),
    "an old version": b"GGUF" + small(1) + bytes(64),
    "the other byte order": b"GGUF" + struct.pack(">I", 3) + bytes(64),
    "a field twice": file_of(*[string() + small(U32) + small(1)] * 2),
    "a tensor twice": file_of(num_tensors=2, tensors=tensor(1) * 2) + bytes(64),
    "a tensor of nothing": file_of(num_tensors=1, tensors=tensor(0)),
    "a tensor of an unknown type": file_of(num_tensors=1, tensors=tensor(32, kind=99)) + bytes(64),
    "rows that are no whole blocks": file_of(num_tensors=1, tensors=tensor(33, kind=2)) + bytes(64),
    "a string cut short": file_of(array(STRING, 2, number(1) + b"x" + number(9))),
    "an unknown type": file_of(string() + small(77)),
    "too many dimensions": file_of(num_tensors=1, tensors=string() + small(2**32 - 1)),
    **{f"an array of {size}": file_of(array(U32, size, bytes(64))) for size in HUGE},
    **{f"an array of {size} strings": file_of(array(STRING, size, bytes(64))) for size in HUGE},
    **{f"an array of {size} arrays": file_of(array(ARRAY, size, bytes(64))) for size in HUGE},
    **{f"a key of {size}": file_of(string(length=size)) for size in HUGE},
    **{f"a text of {size}": file_of(string() + small(STRING) + string(length=size)) for size in HUGE},
    **{f"{size} fields": file_of(num_fields=size) for size in HUGE},
    **{f"{size} tensors": file_of(num_tensors=size) for size in HUGE},
    **{f"a tensor of {size}": file_of(num_tensors=1, tensors=tensor(size, 2)) for size in HUGE},
    **{f"a tensor at {size}": file_of(num_tensors=1, tensors=tensor(2, offset=size)) for size in HUGE},
    "a tensor after a gap": file_of(num_tensors=1, tensors=tensor(8, offset=32)) + bytes(192),
    "a tensor with less than is there for it": file_of(
        num_tensors=2, tensors=tensor(32, kind=8) + string(b"l") + tensor(32, offset=128)[9:]
    )
    + bytes(512),
    "a tensor whose size overflows to little": file_of(num_tensors=1, tensors=tensor(2**32, 2**32)),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_what_a_header_claims_is_bounded(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.gguf").write_bytes(CLAIMS[name])
    tracemalloc.start()
    with pytest.raises(ModelError, match="download it again") as caught:
        convert(tmp_path / "x.gguf", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert peak < 4 << 20


def test_long_lists_of_numbers_take_no_memory(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(file_of(array(U32, 4_000_000, bytes(16_000_000))))
    tracemalloc.start()
    file = GgufFile.open(tmp_path / "x.gguf")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(file.value("k")) == 4_000_000
    assert peak < 1 << 20


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_header_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    path.write_bytes(b"GGUF" + data)
    try:
        with refuses_damage(path):
            GgufFile.open(path)
    except ModelError as error:
        assert "\n" not in error.message
