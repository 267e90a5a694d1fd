"""Signed heads: who holds one from yesterday can tell today whether anything before it has changed.

A checkpoint is one line of JSON over the vault's id, the head's seq and hash and the digest of the last sealed segment,
signed with the vault's Ed25519 key. They are kept in `checkpoints.jsonl`, where they catch a cut tail; kept anywhere
else, they also catch whoever rewrites the whole directory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.moment import rfc3339
from minivault.vault.disk import open_plain
from minivault.vault.head import CHECKPOINTS, last_checkpoint
from minivault.vault.log import Log
from minivault.vault.proof.heads import SignedHead, sign_head
from minivault.vault.proof.key import SigningKey
from minivault.vault.record import canonical, compact, parse
from minivault.vault.segments import ACTIVE, Segment, first_record

FORMAT = 1


def write_checkpoint(log: Log) -> dict[str, Any]:
    """Sign the head and keep the signature; the same one again where nothing was added. Raises VaultError, OSError."""
    with log.locked():
        return write_checkpoint_locked(log)


def write_tree_head(log: Log, *, is_patient: bool = True) -> SignedHead | None:
    """Sign the head, and the head of the tree over all records; unless `is_patient` None where answers would wait for
    it. Raises VaultError, OSError."""
    with log.locked():
        write_checkpoint_locked(log)
        key = SigningKey.load(log.directory)
        if key is None:
            raise VaultError(f"{log.directory} holds no signing key")
        return sign_head(log, key, is_patient=is_patient)


def write_checkpoint_locked(log: Log) -> dict[str, Any]:
    """`write_checkpoint` for a caller that holds the lock."""
    if not log.refresh().seq:
        raise VaultError(f"{log.directory} holds no record to sign")
    key = SigningKey.load(log.directory) or _replace_key(log)
    head = log.head
    last = last_checkpoint(log.directory)
    if last is not None and (last.get("seq"), last.get("hash"), last.get("key")) == (head.seq, head.hash, key.public):
        return last
    log.sync_all()
    fields = _sign(log, key)
    _append(log, compact(fields) + b"\n")
    return fields


def _replace_key(log: Log) -> SigningKey:
    """Make a new key where the old one is gone, and say in the log that it signs from here on."""
    key = SigningKey.create(log.directory, log.disk)
    log.append_locked([log.draft("key", {"public_key": key.public, "reason": "the signing key was missing"})])
    return key


def checkpoints(directory: Path) -> list[dict[str, Any]]:
    """Every checkpoint kept in the vault, oldest first."""
    try:
        fd = open_plain(directory / CHECKPOINTS)
    except FileNotFoundError:
        return []
    with os.fdopen(fd, "rb") as file:
        return [fields for line in file if (fields := parse(line)) is not None]


def _sign(log: Log, key: SigningKey) -> dict[str, Any]:
    first = first_record(Segment(log.directory / ACTIVE, None)) or {}
    time_ns = log.clock()
    fields: dict[str, Any] = {
        "type": "checkpoint",
        "v": FORMAT,
        "vault": log.vault_id(),
        "seq": log.head.seq,
        "hash": log.head.hash,
        "timestamp": rfc3339(time_ns),
        "time_ns": time_ns,
        "segment": {"name": first.get("previous"), "sha256": first.get("sha256")},
        "key": key.public,
    }
    return {**fields, "signature": key.sign(canonical(fields))}


def _append(log: Log, line: bytes) -> None:
    """Add a line; what a crash left of the last one was never handed out and is dropped."""
    fd = log.disk.open(log.directory / CHECKPOINTS)
    try:
        size = os.fstat(fd).st_size
        tail = os.pread(fd, 8192, max(0, size - 8192))
        whole = size - (len(tail) - tail.rfind(b"\n") - 1)
        if whole != size:
            log.disk.ftruncate(fd, whole)
        log.disk.write_all(fd, line)
        log.disk.fdatasync(fd)
    finally:
        log.disk.close(fd)
    log.disk.fsync_directory(log.directory)
