"""`minivault.json`: what a stored model is, file by file. Written last: a folder without one is not a model."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.models.digest import sha256_files
from minivault.models.layout import is_plain_name
from minivault.models.progress import Progress, silent
from minivault.models.signature import Signature

FILE_NAME = "minivault.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a model. `mtime_ns` matters only for files that are not ours: a directory used in place."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`directory` is empty for files that lie beside the manifest, else where they are."""

    name: str
    source: str
    license: str
    num_parameters: int
    created_ns: int
    files: dict[str, FileRecord]
    directory: str = ""
    origin: dict[str, Any] | None = None
    """What was converted or downloaded, where that helps to recognise it again (path, size, digest, commit)."""
    signature: Signature | None = None


def record_files(directory: Path, names: list[str], progress: Progress = silent) -> dict[str, FileRecord]:
    """Hash the named files of a directory."""
    stats = {name: (directory / name).stat() for name in sorted(names)}
    digests = sha256_files([directory / name for name in stats], progress)
    return {name: FileRecord(digests[name], stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into `folder`, whole or not at all."""
    text = json.dumps({"format": FORMAT} | asdict(manifest), indent=2) + "\n"
    partial = folder / f"{FILE_NAME}.{os.getpid()}"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / FILE_NAME)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`; None when there is none. Raises ModelError when it cannot be understood."""
    try:
        data = json.loads((folder / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, error) from None
    try:
        if data.pop("format") != FORMAT:
            raise ModelError(f"{folder} was made by another version of MiniVault; remove it and pull the model again")
        files = {name: FileRecord(**entry) for name, entry in data.pop("files").items()}
        if not all(is_plain_name(name) for name in files):
            raise ValueError("a file name is not plain")
        signature = Signature(**signed) if (signed := data.pop("signature", None)) else None
        return Manifest(files=files, signature=signature, **data)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(folder, error) from None


def _damaged(folder: Path, error: Exception) -> ModelError:
    return ModelError(f"{folder / FILE_NAME} is damaged ({error}); remove {folder} and pull the model again")


def find_change(manifest: Manifest, directory: Path, *, verify: bool, progress: Progress = silent) -> str:
    """What differs between the manifest and the files in `directory`, in a few words; "" when nothing does.

    Without `verify` sizes are compared (and times, for a directory used in place); with it, digests.
    """
    for name, record in manifest.files.items():
        path = directory / name
        if not path.is_file() or path.is_symlink():
            return f"{name} is missing"
        stat = path.stat()
        if stat.st_size != record.size:
            return f"{name} has {stat.st_size} bytes instead of {record.size}"
        if manifest.directory and not verify and stat.st_mtime_ns != record.mtime_ns:
            return f"{name} was modified"
    digests = sha256_files([directory / name for name in manifest.files], progress) if verify else {}
    wrong = [name for name, digest in digests.items() if digest != manifest.files[name].sha256]
    return f"{wrong[0]} does not have the recorded digest" if wrong else ""
