"""GGUF files that come in parts: `name-00001-of-00003.gguf`, of which the first has the metadata."""

from __future__ import annotations

import re
from pathlib import Path

from minivault.errors import ModelError

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


def parts(path: Path) -> list[Path]:
    """All files of the model whose first or only one is `path`. Raises ModelError where one of them is not here."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    name, number, count = match[1], int(match[2]), int(match[3])
    found = [path.with_name(f"{name}-{part:05}-of-{count:05}.gguf") for part in range(1, count + 1)]
    if number != 1:
        raise ModelError(f"{path.name} is part {number} of {count}; give the first, {found[0].name if found else name}")
    if missing := [part.name for part in found if not part.is_file()]:
        raise ModelError(f"{missing[0]} is missing beside {path.name}: a model in {count} parts needs all of them")
    return found


def is_later_part(path: Path) -> bool:
    """It is a part of a model that begins in another file."""
    match = _PART.fullmatch(path.name)
    return match is not None and int(match[2]) > 1


def whole_name(name: str) -> str:
    """A file's name without its ending and the number of its part."""
    match = _PART.fullmatch(name)
    return match[1] if match else name.removesuffix(".gguf")
