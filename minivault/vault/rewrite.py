"""Writing a sealed segment anew: compressed, or with one record redacted. The old file stays until the new is durable.

A compressed segment is a row of independent gzip members of whole lines, so that any tool can read it and one record
can be read without what stands before it.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minivault.errors import VaultError
from minivault.vault.disk import Disk
from minivault.vault.segments import Segment, sealed_segments, summarize

LOCK = "maintenance.lock"
MEMBER_BYTES = 256 << 10


@contextmanager
def maintenance(directory: Path, disk: Disk, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of whoever rewrites or removes sealed segments; yields False where it is held and `wait` is not."""
    fd = disk.open(directory / LOCK)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A new form of a segment that waits beside it, and the digests (uncompressed) before and after."""

    temporary: Path
    sha256_before: str
    sha256_after: str


def write_beside(
    segment: Segment, disk: Disk, *, compress: bool, change: Callable[[bytes], bytes] = lambda line: line
) -> Rewritten:
    """Write the segment's lines, each through `change`, to a temporary file beside it, durably."""
    temporary = segment.path.with_name(segment.name + (".tmp.gz" if compress else ".tmp"))
    temporary.unlink(missing_ok=True)
    before, after = hashlib.sha256(), hashlib.sha256()
    fd = disk.open(temporary, exclusive=True)
    try:
        for block in _blocks(segment, change, before):
            after.update(block)
            disk.write_all(fd, gzip.compress(block, 6, mtime=0) if compress else block)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)
    return Rewritten(temporary, "sha256:" + before.hexdigest(), "sha256:" + after.hexdigest())


def _blocks(segment: Segment, change: Callable[[bytes], bytes], before: hashlib._Hash) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    for line in segment.lines():
        before.update(line)
        lines.append(change(line))
        size += len(lines[-1])
        if size >= MEMBER_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def remove_leftovers(directory: Path, disk: Disk) -> None:
    """Remove what a crash left of earlier rewriting and compressing; the caller holds both locks."""
    for path in directory.glob("log*.tmp*"):
        disk.unlink(path)
    for segment in sealed_segments(directory):
        twin = segment.path.with_name(segment.name + ".gz")
        if not segment.is_compressed and twin.exists():
            disk.unlink(twin)


def compress_segments(directory: Path, disk: Disk | None = None) -> list[Path]:
    """Compress every sealed segment that is not; does nothing where somebody else does. Raises OSError."""
    disk = disk or Disk()
    done: list[Path] = []
    with maintenance(directory, disk, wait=False) as is_ours:
        for segment in sealed_segments(directory) if is_ours else []:
            if not segment.is_compressed:
                done.append(_compress(segment, disk))
    return done


def _compress(segment: Segment, disk: Disk) -> Path:
    """Compress one segment: write, sync, read back, rename, and only then remove the source."""
    target = segment.path.with_name(segment.name + ".gz")
    new = write_beside(segment, disk, compress=True)
    if summarize(Segment(new.temporary, segment.first_seq)).sha256 != new.sha256_before:
        raise VaultError(f"{new.temporary.name} does not read back as {segment.name}, which stays as it is")
    disk.rename(new.temporary, target)
    disk.fsync_directory(segment.path.parent)
    disk.unlink(segment.path)
    return target
