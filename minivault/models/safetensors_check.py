"""Whether a safetensors file is whole: its header is sane and describes exactly the bytes that follow."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.models.model_files import ModelFiles

_HEADER_LIMIT_BYTES = 100_000_000


def check_file(path: Path) -> int:
    """How many numbers the file holds. Raises ModelError, naming the file, when it is cut short or damaged."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= _HEADER_LIMIT_BYTES:
            raise ModelError(f"{path} is not a safetensors file (its header is broken); get the model again")
        text = file.read(length)
    if len(text) < length:
        raise ModelError(f"{path} is cut short; get the model again")
    end, count = _described(path, text)
    if 8 + length + end != size:
        raise ModelError(f"{path} is cut short or damaged: {size} bytes instead of {8 + length + end}; get it again")
    return count


def count_parameters(files: ModelFiles) -> int:
    """How many numbers the model's weights hold."""
    return sum(map(check_file, sorted(files.directory.glob("*.safetensors"))))


def _described(path: Path, text: bytes) -> tuple[int, int]:
    """(bytes of data, number of elements) by the header."""
    try:
        header = json.loads(text)
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        spans = sorted(_span(entry) for entry in entries)
        count = sum(math.prod(entry["shape"]) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ModelError(f"{path} has a broken safetensors header; get the model again") from None
    end = 0
    for start, stop in spans:
        if start != end or stop < start:
            raise ModelError(f"{path} has a broken safetensors header (gaps or overlaps); get the model again")
        end = stop
    return end, count


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    start, stop = entry["data_offsets"]
    if type(start) is not int or type(stop) is not int:
        raise ValueError("offsets are not integers")
    return start, stop
