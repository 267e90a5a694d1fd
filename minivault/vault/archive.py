"""The vault as those see it who read and look after it: every reading and every change is recorded before it is shown.

Commands use this; a server's own writing goes through `Vault`. Several archives and servers may use one directory.
"""

from __future__ import annotations

import base64
import os
import pwd
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from minivault.errors import NotFound, VaultError, VaultUnavailable
from minivault.vault.chosen import sampled
from minivault.vault.copying import copy_encrypted
from minivault.vault.directory import LOCK
from minivault.vault.disk import Disk
from minivault.vault.dossier import Dossier, gather
from minivault.vault.holding import release_hold, set_hold
from minivault.vault.index import Index, find, ids_like
from minivault.vault.keeping import Keeping
from minivault.vault.log import Log
from minivault.vault.place import Record, at_seq
from minivault.vault.proof.checkpoint import write_checkpoint
from minivault.vault.proof.export import export_csv, export_jsonl
from minivault.vault.proof.heads import SignedHead, add, signed_heads
from minivault.vault.proof.key import SigningKey
from minivault.vault.proof.note import TreeHead
from minivault.vault.proof.prove import Prover, proving
from minivault.vault.proof.signer import change_signer, told
from minivault.vault.proof.timestamp import head_of
from minivault.vault.pruning import Pruned, prune
from minivault.vault.reader import Filter, Group, follow, last_records, last_shown, search, stats
from minivault.vault.record import Draft, Place
from minivault.vault.recover import Recovered, Regenerate, recover_journals
from minivault.vault.removal import Erasure, complete_redactions, redact
from minivault.vault.segments import vault_id
from minivault.vault.tables import WRITERS

LAST = "last"
"""What names the last interaction."""
MIN_SHORT = 4
ID_LENGTH = 36


def current_user() -> str:
    """Who runs this process, as the system knows it."""
    uid = os.getuid()
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


@contextmanager
def _written_or_nothing() -> Iterator[None]:
    """Says of a disk that failed that nothing was done."""
    try:
        yield
    except OSError as error:
        raise VaultUnavailable(f"the vault cannot be written, so nothing is done: {error}") from None


class Archive:
    """A vault's log, for reading and maintenance. `by` is who does it. Raises VaultError where there is no vault."""

    def __init__(
        self,
        directory: Path,
        *,
        by: str,
        segment_bytes: int = 64 << 20,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
        node: str = "",
        keep_days: float = 0,
    ) -> None:
        if not (directory / LOCK).exists():
            raise VaultError(f"{directory} holds no vault; it is made when the server first starts")
        self.directory = directory
        self.by = by
        self._keep_days = keep_days
        self._log = Log(directory, segment_bytes=segment_bytes, clock=clock, disk=disk, node=node)

    @property
    def vault_id(self) -> str:
        """The vault's own id, as its first line has it."""
        return vault_id(self.directory)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def show(self, id_or_seq: str) -> Record:
        """One record, checked in its place. Raises NotFound, VaultError (it was changed)."""
        record = self._find(id_or_seq)
        self._record_read("show", {"id": record["id"]}, 1)
        return record

    def tail(self, count: int, *, will_follow: bool = False, hidden: Collection[str] = ()) -> list[Record]:
        """The last records of other types than `hidden`, in order."""
        records = last_shown(self.directory, count, hidden)
        self._record_read("tail", {"follow": will_follow}, len(records))
        return records

    def follow(self, after_seq: int) -> Iterator[Record]:
        """Records as they come, for ever; the reading was recorded by `tail`."""
        return follow(self.directory, after_seq=after_seq)

    def search(self, wanted: Filter, limit: int = 0) -> list[Record]:
        """The last `limit` records that match (0 = all), in order."""
        records = deque(search(self.directory, wanted), maxlen=limit or None)
        self._record_read("search", wanted.describe(), len(records))
        return list(records)

    def sample(self, wanted: Filter, num: int, seed: int) -> tuple[list[Record], int]:
        """At most `num` records that match, chosen by `seed` as `chosen.sampled` says, and how many match."""
        records, num_matching = sampled(search(self.directory, wanted), num, seed)
        self._record_read("audit", {**wanted.describe(), "sample": num, "seed": seed}, len(records))
        return records, num_matching

    def stats(self, wanted: Filter) -> list[Group]:
        """Requests, tokens and latency per day, model and key."""
        groups = stats(search(self.directory, wanted))
        self._record_read("stats", wanted.describe(), sum(group.requests for group in groups))
        return groups

    def dossier(self, since_ns: int | None, until_ns: int | None) -> Dossier:
        """The facts of a period, without anything that was asked or answered."""
        asked = Filter(since_ns=since_ns, until_ns=until_ns, type=None)
        self._record_read("report", asked.describe(), None)
        return gather(self.directory, since_ns, until_ns, self._log.clock())

    def export_jsonl(self, wanted: Filter, watch: Callable[[int], None] | None = None) -> tuple[Iterator[bytes], int]:
        """An excerpt with the proof that it is one, and how many records were chosen for it."""
        self._record_read("export", {**wanted.describe(), "format": "jsonl"}, None)
        with _written_or_nothing():
            return export_jsonl(self._log, wanted, watch)

    def export_table(self, wanted: Filter, format_: str, path: Path, watch: Callable[[int], None] | None = None) -> int:
        """Fill the file `path` with a table in one of `WRITERS`, without proof; returns how many rows."""
        self._record_read("export", {**wanted.describe(), "format": format_}, None)
        return WRITERS[format_](_watched(search(self.directory, wanted), watch), path)

    def export_csv(self, wanted: Filter) -> Iterator[str]:
        """A table, without proof."""
        self._record_read("export", {**wanted.describe(), "format": "csv"}, None)
        return export_csv(search(self.directory, wanted))

    def head(self) -> Place:
        """The last record's seq and hash."""
        last = last_records(self.directory, 1)
        return Place(last[-1]["seq"], last[-1]["hash"]) if last else Place(0, "")

    @contextmanager
    def proving(
        self, size: int | None = None, *, covers: int | None = None, is_patient: bool = True
    ) -> Iterator[Prover]:
        """Proofs under a tree head: as `proof.prove.proving`, without options the newest, signed now."""
        with _written_or_nothing(), proving(self._log, size, covers=covers, is_patient=is_patient) as prover:
            yield prover

    def prove(self, id_or_seq: str) -> str:
        """One record's `.tlog-proof`; its content is not in it. Raises NotFound, VaultError."""
        record = self._find(id_or_seq)
        with self.proving(covers=record["seq"]) as prover:
            return prover.proof(record)

    def checkpoint(self) -> dict[str, Any]:
        """Sign the head; the line is to be kept elsewhere."""
        with _written_or_nothing():
            return write_checkpoint(self._log)

    def signer(self) -> tuple[str, str]:
        """Where the signing key is held, `file` or `ssh-agent`, and its fingerprint. Raises VaultError."""
        key = SigningKey.load(self.directory)
        if key is None:
            raise VaultError(f"{self.directory} holds no signing key; `vault checkpoint` makes one")
        return told(key)

    def change_signer(self, to: str) -> Place:
        """Let the ssh-agent's key of this fingerprint sign from here on, or with `file` a new one beside the log."""
        with _written_or_nothing():
            return change_signer(self._log, to, by=self.by)

    def archive(self, target: Path, recipients: list[str]) -> int:
        """Bring an encrypted copy up to date; returns how many files were written. Raises BadRequest, ConfigError."""
        self.checkpoint()
        count = sum(1 for _ in copy_encrypted(self._log, target, recipients))
        self.note_act("vault archive", {"name": str(target), "encrypt_to": recipients, "files": count})
        return count

    def add_cosignatures(self, head: TreeHead, lines: str) -> None:
        """Keep a witness's signature lines with the head that they are of."""
        with _written_or_nothing(), self._log.locked():
            for line in lines.splitlines():
                add(self._log, "cosignature", head, line=f"{line}\n")

    def add_timestamp(self, response: bytes) -> SignedHead:
        """Keep a timestamp authority's response with the head that it is about. Raises VaultError."""
        signed = head_of(response, signed_heads(self.directory))
        text = base64.b64encode(response).decode("ascii")
        with _written_or_nothing(), self._log.locked():
            if text not in signed.timestamps:
                add(self._log, "timestamp", signed.head, response=text)
        return signed

    def redact(self, id_or_seq: str, reason: str, part: str | None = None) -> Place:
        """Remove the content of one record for good, or the `part` of it (`reasoning`). Raises NotFound, VaultError."""
        [place] = self.redact_all([self._find(id_or_seq)], reason, part)
        return place

    def redact_all(
        self,
        targets: Sequence[Record],
        reason: str,
        part: str | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> list[Place]:
        """Remove the content of these records, in their order. What was done before an interruption stays done.

        Raises Retained, and then has removed nothing, VaultError.
        """
        self.checkpoint()  # what cannot be signed is not begun
        with _written_or_nothing():
            how = partial(redact, self._log, targets, by=self.by, reason=reason, part=part)
            places = how(keep_days=self._keep_days, watch=watch)
        self.checkpoint()
        return places

    def removable(self, wanted: Filter, part: str | None = None) -> Erasure:
        """What a redaction of all that match would remove, and what would stay and why; nothing is done."""
        erasure = Erasure.of(search(self.directory, wanted), self.kept(), part)
        self._record_read("redact", wanted.describe(), len(erasure.targets))
        return erasure

    def kept(self) -> Keeping:
        """What forbids removals now."""
        return Keeping.now(self.directory, self._keep_days, self._log.clock())

    def prune(self, keep_days: float) -> Pruned:
        """Remove sealed segments whose records are all older than `keep_days`. Raises Retained."""
        with _written_or_nothing():
            return prune(self._log, keep_days=keep_days, by=self.by, floor_days=self._keep_days)

    def hold(self, name: str, wanted: Filter, reason: str) -> Place:
        """Keep what is wanted from being removed until that is released. Raises BadRequest for a name in use."""
        with _written_or_nothing():
            return set_hold(self._log, name, wanted, by=self.by, reason=reason)

    def release(self, name: str, reason: str) -> Place:
        """End a hold. Raises NotFound."""
        with _written_or_nothing():
            return release_hold(self._log, name, by=self.by, reason=reason)

    def note_act(self, command: str, details: Mapping[str, Any]) -> Place:
        """Record what an administrator has done beside the vault: to keys, models, settings."""
        with _written_or_nothing():
            return self._append(self._log.draft("admin", {"by": self.by, "command": command, "details": dict(details)}))

    def recover(self, regenerate: Regenerate | None = None) -> tuple[list[Recovered], int]:
        """Record what dead processes left open, and carry out redactions cut short: those, and how many of these."""
        with _written_or_nothing():
            recovered = recover_journals(self.directory, self._append, regenerate=regenerate)
            return recovered, complete_redactions(self._log)

    def reindex(self) -> int:
        """Bring the index up to date; returns how many segments it took in."""
        with Index(self.directory) as index:
            return index.update()

    def _find(self, name: str) -> Record:
        """By seq, by id, by the beginning or end of an id, or `last`. Raises NotFound, also where several fit."""
        record = self._last_interaction() if name == LAST else None
        if name.isascii() and name.isdigit() and len(name) < 19:
            record = at_seq(self.directory, int(name))
        if record is None and MIN_SHORT <= len(name) < ID_LENGTH:
            matching = ids_like(self.directory, name)
            if len(matching) > 1:
                raise NotFound(f"{name} fits several records: {', '.join(matching)}; write more of the id")
            name = matching[0] if matching else name
        if record is None:
            record = find(self.directory, name)
        if record is None:
            raise NotFound(f"the vault holds no record {name}; `vault tail` and `vault search` show which there are")
        return record

    def _last_interaction(self) -> Record | None:
        """Reading backwards by ever longer stretches, so that a long log is not read for its end."""
        found = last_shown(self.directory, 1, wanted="interaction")
        return found[0] if found else None

    def _record_read(self, command: str, filter_: Mapping[str, Any], num_records: int | None) -> None:
        fields = {"by": self.by, "command": command, "filter": dict(filter_), "records": num_records}
        with _written_or_nothing():
            self._append(self._log.draft("read", fields))

    def _append(self, draft: Draft) -> Place:
        [place] = self._log.append([draft])
        self._log.sync()
        return place


def _watched(records: Iterator[Record], watch: Callable[[int], None] | None) -> Iterator[Record]:
    for record in records:
        yield record
        if watch is not None:
            watch(record["seq"])
