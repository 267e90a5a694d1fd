"""A random sample of records that anybody can draw again: those whose ids have the lowest digests under a seed."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from itertools import count

from minivault.vault.place import Record


def sampled(records: Iterable[Record], num: int, seed: int) -> tuple[list[Record], int]:
    """At most `num` of them by seq, and how many there are. A record's rank is the SHA-256 of `SEED:ID`, so it does not
    depend on which others there are. No more than `num` are held."""
    numbers = count()
    counted = (record for record, _ in zip(records, numbers, strict=False))
    chosen = heapq.nsmallest(num, counted, key=lambda record: _rank(seed, record["id"]))
    return sorted(chosen, key=lambda record: int(record["seq"])), next(numbers)


def _rank(seed: int, id_: str) -> bytes:
    return hashlib.sha256(f"{seed}:{id_}".encode()).digest()
