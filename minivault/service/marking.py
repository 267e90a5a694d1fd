"""Which mark this process puts on answers, and what becomes of a model's facts where it does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from minivault.config import Settings
from minivault.service.fingerprint import fingerprint
from minivault.types import ModelInfo
from minivault.watermark import Mark, read_mark

FIELD = "MINIVAULT_WATERMARK_KEY_FILE"


def mark_of(settings: Settings) -> Mark | None:
    """The mark of the settings; None where answers are not marked. Its file is read once in a process, before there are
    workers. Raises ConfigError for a file that cannot be used."""
    return _read(settings.watermark_key_file) if settings.watermark_key_file else None


@cache
def _read(path: str) -> Mark:
    return read_mark(Path(path), FIELD)


def marking(info: ModelInfo, mark: Mark | None) -> ModelInfo:
    """A model's facts where its answers are marked: the mark is part of what the fingerprint is made of."""
    if mark is None:
        return info
    parts = {**(info.fingerprint_parts or {"engine": info.fingerprint}), "watermark": mark.name}
    return replace(
        info,
        watermark=mark.name,
        unmarked_fingerprint=info.fingerprint,
        fingerprint=fingerprint(parts),
        fingerprint_parts=parts,
    )
