"""A wheel with one GGUF file inside, its catalog entry, and a folder that pip takes for an index."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from minivault.models.catalog import KnownModel, WheelOrigin

MEMBER = "tiny_model/tiny.gguf"


def write(folder: Path, gguf_file: Path) -> KnownModel:
    """Write tiny_model-1.0-py3-none-any.whl and return the entry that describes it."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    texts = {
        "tiny_model/__init__.py": "raise SystemExit('a wheel is data, its code never runs')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: absent\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(gguf_file, MEMBER)
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # without the time of day: written again, it is the same
    origin = WheelOrigin(
        project="tiny-model",
        version="1.0",
        wheel_sha256=_digest(path),
        wheel_bytes=path.stat().st_size,
        member=MEMBER,
        member_sha256=_digest(gguf_file),
        member_bytes=gguf_file.stat().st_size,
    )
    return KnownModel("tiny", "A tiny model", "mit", origin, origin.wheel_bytes)


def changed(entry: KnownModel, **changes: Any) -> KnownModel:
    """The entry with other facts about its wheel."""
    assert isinstance(entry.origin, WheelOrigin)
    return replace(entry, origin=replace(entry.origin, **changes))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
