"""The vault as those see it who read it: what is shown was checked in its place, and the reading recorded before."""

from __future__ import annotations

import os
import pwd
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minivault.errors import NotFound, VaultError, VaultUnavailable
from minivault.vault.chosen import sampled
from minivault.vault.directory import LOCK
from minivault.vault.disk import Disk
from minivault.vault.dossier import Dossier, gather
from minivault.vault.index import find, ids_like
from minivault.vault.log import Log
from minivault.vault.place import Record, at_seq
from minivault.vault.proof.export import export_csv, export_jsonl
from minivault.vault.proof.prove import Prover, proving
from minivault.vault.reader import Filter, Group, follow, last_records, last_shown, search, stats
from minivault.vault.record import Draft, Place
from minivault.vault.said import Said, said, words_of
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
def written_or_nothing() -> Iterator[None]:
    """Says of a disk that failed that nothing was done."""
    try:
        yield
    except OSError as error:
        raise VaultUnavailable(f"the vault cannot be written and stays as it is: {error}") from None


class Readable:
    """A vault's log, for reading. `by` is who does it. Raises VaultError where there is no vault."""

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

    def said(self, text: str, watch: Callable[[int], None] | None = None) -> Said:
        """Whether any answer says a text. Raises BadRequest (no text to look for), VaultError (it was changed)."""
        given = words_of(text)
        with written_or_nothing():
            found = said(self.directory, given, disk=self._log.disk, watch=watch)
        seqs = [match.seq for match in found.matches]
        self._record_read("said", {"words": len(given), "verdict": found.verdict, "found": seqs}, len(seqs))
        return found

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
        with written_or_nothing():
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
        with written_or_nothing(), proving(self._log, size, covers=covers, is_patient=is_patient) as prover:
            yield prover

    def prove(self, id_or_seq: str) -> str:
        """One record's `.tlog-proof`; its content is not in it. Raises NotFound, VaultError."""
        record = self._find(id_or_seq)
        with self.proving(covers=record["seq"]) as prover:
            return prover.proof(record)

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
        with written_or_nothing():
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
