"""SHA-256 of files, at the speed of the disk, and of sets of files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from minivault.models.progress import Progress, silent

_READ_BYTES = 4 << 20


def sha256_file(path: Path, progress: Progress = silent) -> str:
    """The SHA-256 of a file in hex."""
    return sha256_files([path], progress)[path.name]


def sha256_files(paths: Sequence[Path], progress: Progress = silent) -> dict[str, str]:
    """File name → SHA-256 in hex."""
    total, done = sum(path.stat().st_size for path in paths), 0
    digests = {}
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
                done += len(block)
                progress("checking digests", done, total)
        digests[path.name] = digest.hexdigest()
    return digests


def digest_of_set(digests: Mapping[str, str]) -> str:
    """One tagged digest for files given as name → hex: the file's own if there is one file, else the digest of
    their `sha256sum` listing in order of name. Empty for no files."""
    if not digests:
        return ""
    if len(digests) == 1:
        return "sha256:" + next(iter(digests.values()))
    listing = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
