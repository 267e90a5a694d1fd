"""The facts of a period for a report: how much was asked, what was done to the vault, which engines, what is signed.

One pass over the log, each record checked in its place; nothing that a person asked or a model answered is kept of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.vault.keeping import Hold, Keeping
from minivault.vault.place import Record, Redactions, whole_chain
from minivault.vault.proof.checkpoint import checkpoints
from minivault.vault.proof.heads import signed_heads

MAX_EVENTS = 500
SHOWN = ("gap", "recovered", "redaction", "prune", "hold", "admin", "key")
"""Kinds of records of which each is an event of its own."""


@dataclass(slots=True)
class Engine:
    """What a fingerprint stands for, and how many interactions of the period were made under it."""

    model: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    num_records: int = 0


@dataclass(slots=True)
class Dossier:
    """`since_ns` is inclusive, `until_ns` exclusive; counts are of interactions within, events of records within."""

    since_ns: int | None
    until_ns: int | None
    first: Record | None = None
    last: Record | None = None
    """The first and the last record that the vault holds, of whatever time."""
    kinds: Counter[str] = field(default_factory=Counter)
    days: dict[str, Counter[str]] = field(default_factory=dict)
    """By day: how many of each status."""
    keys: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    events: dict[str, list[Record]] = field(default_factory=lambda: {kind: [] for kind in SHOWN})
    """The last of each kind."""
    exports: list[Record] = field(default_factory=list)
    engines: dict[str, Engine] = field(default_factory=dict)
    starts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By version and durability."""
    holds: tuple[Hold, ...] = ()
    fault: str = ""
    """Why the log was not read to its end."""

    def add(self, record: Record) -> None:
        """Take in a record of the log, in its order."""
        self.first, self.last = self.first or _head_of(record), _head_of(record)
        kind = record["type"]
        if kind == "model":
            engine = self.engines.setdefault(str(record["fingerprint"]), Engine(str(record["model"])))
            engine.parts = record.get("parts") or {}
        if self._is_outside(record["time_ns"]):
            return
        self.kinds[kind] += 1
        if kind == "interaction":
            self._count(record)
        elif kind in self.events:
            _keep(self.events[kind], record)
        elif kind == "read" and record.get("command") in ("export", "report"):
            _keep(self.exports, record)
        elif kind == "start":
            self.starts[str(record.get("version")), str(record.get("sync"))] += 1

    def _is_outside(self, time_ns: int) -> bool:
        is_before = self.since_ns is not None and time_ns < self.since_ns
        return is_before or (self.until_ns is not None and time_ns >= self.until_ns)

    def _count(self, record: Record) -> None:
        status, usage = str(record.get("status")), record.get("usage") or {}
        self.days.setdefault(str(record["timestamp"])[:10], Counter())[status] += 1
        self.statuses[status] += 1
        self.keys[str(record.get("key") or "")] += 1
        self.models[str(record.get("model"))] += 1
        for name in ("prompt_tokens", "completion_tokens"):
            self.tokens[name] += int(usage.get(name) or 0)
        fingerprint = str(record.get("fingerprint"))
        self.engines.setdefault(fingerprint, Engine(str(record.get("model")))).num_records += 1


def _head_of(record: Record) -> Record:
    return {name: record[name] for name in ("seq", "timestamp", "hash")}


def _keep(rows: list[Record], record: Record) -> None:
    rows.append(record)
    if len(rows) > MAX_EVENTS:
        del rows[0]


def gather(directory: Path, since_ns: int | None, until_ns: int | None, now_ns: int) -> Dossier:
    """Read the log for it, all of it or up to what is not as it was written. Raises OSError."""
    found, redactions = Dossier(since_ns, until_ns), Redactions(directory)
    try:
        for record in whole_chain(directory):
            found.add(redactions.lawful(record))
        found.holds = Keeping.now(directory, 0, now_ns).holds
    except VaultError as error:
        found.fault = error.message
    return found


@dataclass(frozen=True, slots=True)
class Signed:
    """What has been signed of the vault, by it and by others."""

    num_checkpoints: int
    last: Mapping[str, Any]
    num_heads: int
    size: int
    """Records under the newest tree head."""
    witnesses: tuple[tuple[str, int], ...]
    """Names, and the size of the newest head that each has cosigned."""
    num_timestamps: int


def signed(directory: Path) -> Signed:
    """Read from the vault's own files; whether it is true is the business of `verify`."""
    kept, heads = checkpoints(directory), signed_heads(directory)
    cosigned = {line.split(" ")[1]: head.head.size for head in heads for line in head.cosignatures}
    return Signed(
        len(kept),
        kept[-1] if kept else {},
        len(heads),
        max((head.head.size for head in heads), default=0),
        tuple(sorted(cosigned.items())),
        sum(len(head.timestamps) for head in heads),
    )
