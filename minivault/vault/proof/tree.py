"""The Merkle tree (RFC 6962) over the hashes of all records: one root says what the whole log is.

A leaf is a record's 32-byte hash, so that a redaction changes nothing. The hashes of all complete subtrees lie in one
file in the order in which they become known, as in Go's checksum database: a record adds about two, none ever changes,
and any proof reads a few dozen. The file is believed as far as a signed head agrees with it, and can be made again from
the log.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minivault.errors import VaultError
from minivault.vault.disk import Disk

TREE = "tree.hashes"
_MAGIC = b"minivault-tree-1"
_HASH = 32
_PIECE = 1 << 20
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(record_hash: bytes) -> bytes:
    """RFC 6962 §2.1 of a leaf."""
    return hashlib.sha256(b"\0" + record_hash).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def is_consistent(old: int, old_root: bytes, size: int, root: bytes, path: list[bytes]) -> bool:
    """Whether the tree of `size` leaves begins with the one of `old` leaves (RFC 9162 §2.1.4.2)."""
    if old == size:
        return not path and old_root == root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    if not 0 < old < size or not path:
        return False
    path = path if old & (old - 1) else [old_root, *path]
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = node_hash(node, first), node_hash(node, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, node)
        place, last = place >> 1, last >> 1
    return last == 0 and (first, second) == (old_root, root)


def num_hashes(size: int) -> int:
    """How many subtrees are complete in a tree of `size` leaves."""
    return 2 * size - size.bit_count()


def left_size(size: int) -> int:
    """How many of `size` leaves are under the left child: the largest power of two below it."""
    return 1 << (size - 1).bit_length() - 1


class Tree:
    """The file of one vault's tree. `base` is the seq of its first leaf; `size` is how many leaves it has."""

    def __init__(self, fd: int, base: int, disk: Disk) -> None:
        self._fd, self._disk = fd, disk
        self.base = base
        self.size = _whole_leaves(os.fstat(fd).st_size)

    @classmethod
    @contextmanager
    def opened(cls, path: Path, disk: Disk) -> Iterator[Tree | None]:
        """The tree as it lies there; None where there is none that can be read."""
        try:
            fd = disk.open(path, create=False)
        except OSError:
            yield None
            return
        try:
            base = _base_of(os.pread(fd, _HASH, 0))
            yield None if base is None else cls(fd, base, disk)
        finally:
            disk.close(fd)

    @classmethod
    def begin(cls, path: Path, base: int, disk: Disk) -> None:
        """Put an empty tree in place of whatever is there."""
        disk.replace(path, _MAGIC + base.to_bytes(8, "big") + bytes(8))

    def cut(self, size: int) -> None:
        """Forget every leaf after `size`, and what a crash left of a hash."""
        self._disk.ftruncate(self._fd, _HASH * (1 + num_hashes(size)))
        self.size = size

    def grow(self, record_hashes: Iterable[bytes]) -> None:
        """Add leaves, durably."""
        peaks = [self.subtree(start, end) for start, end in _peaks(self.size)]
        added = bytearray()
        for record_hash in record_hashes:
            node = leaf_hash(record_hash)
            added += node
            size = self.size
            while size & 1:
                node = node_hash(peaks.pop(), node)
                added += node
                size >>= 1
            peaks.append(node)
            self.size += 1
            if len(added) >= _PIECE:
                self._disk.write_all(self._fd, bytes(added))
                added.clear()
        self._disk.write_all(self._fd, bytes(added))
        self._disk.fdatasync(self._fd)

    def subtree(self, start: int, end: int) -> bytes:
        """The hash over the leaves from `start` to before `end`, where `start` is a multiple of what it holds."""
        size = end - start
        if size == 0:
            return EMPTY_ROOT
        if size & (size - 1):
            middle = start + left_size(size)
            return node_hash(self.subtree(start, middle), self.subtree(middle, end))
        at = num_hashes(end - 1) + size.bit_length() - 1
        found = os.pread(self._fd, _HASH, _HASH * (1 + at))
        if len(found) != _HASH:
            raise VaultError(f"{TREE} ends before leaf {end}: it was cut; remove it, and it is made again")
        return found

    def root(self, size: int) -> bytes:
        return self.subtree(0, size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1), from the leaf upwards."""
        return self._path(index, 0, size)

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start <= 1:
            return []
        middle = start + left_size(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self.subtree(middle, end)]
        return [*self._path(index, middle, end), self.subtree(start, middle)]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The proof that the tree of `size` leaves extends the one of `old` (RFC 6962 §2.1.2)."""
        return self._subproof(old, 0, size, is_whole=True) if 0 < old < size else []

    def _subproof(self, old: int, start: int, end: int, *, is_whole: bool) -> list[bytes]:
        if old == end:
            return [] if is_whole else [self.subtree(start, end)]
        middle = start + left_size(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, is_whole=is_whole), self.subtree(middle, end)]
        return [*self._subproof(old, middle, end, is_whole=False), self.subtree(start, middle)]


def _peaks(size: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees of a tree, from the left."""
    start = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield start, start + (1 << level)
            start += 1 << level


def _base_of(header: bytes) -> int | None:
    base = int.from_bytes(header[16:24], "big")
    return base if header == _MAGIC + base.to_bytes(8, "big") + bytes(8) and base else None


def _whole_leaves(file_size: int) -> int:
    """How many leaves are whole, with all the subtrees that they complete, in a file of so many bytes."""
    there = max(0, file_size // _HASH - 1)
    low, high = 0, there
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if num_hashes(middle) <= there else (low, middle - 1)
    return low
