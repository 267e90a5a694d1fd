"""Several vaults as one: each front machine keeps its own, and an auditor wants them checked together and in one order.

Each is verified by itself; together they must be different vaults, since a copy would count everything twice. Records
are ordered by their time, and those of one vault stay in the order of its log, whatever its clock did. Between vaults
the order is as good as the machines' clocks: no hash links one vault to another.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from minivault.vault.archive import Archive
from minivault.vault.evidence import verify
from minivault.vault.place import Record
from minivault.vault.reader import Filter
from minivault.vault.verify import TAMPERED, UNREADABLE, Report


@dataclass(frozen=True, slots=True)
class Checked:
    """One of several vaults. `twin` is another directory that holds the same vault."""

    directory: Path
    report: Report
    twin: Path | None = None

    @property
    def exit_code(self) -> int:
        """As `vault verify` ends; the same vault twice is none of several."""
        return TAMPERED if self.twin is not None and self.report.exit_code != UNREADABLE else self.report.exit_code


@dataclass(frozen=True, slots=True)
class Placed:
    """A record, and the vault and machine it is of."""

    vault: str
    node: str
    record: Record


def check_all(directories: Sequence[Path]) -> list[Checked]:
    """Verify each vault. Raises Misused for a path that is none."""
    checked, seen = list[Checked](), dict[str, Path]()
    for directory in directories:
        report = verify(directory)
        twin = seen.get(report.vault) if report.vault else None
        seen.setdefault(report.vault, directory)
        checked.append(Checked(directory, report, twin))
    return checked


def merged(directories: Sequence[Path], wanted: Filter, *, by: str) -> Iterator[Placed]:
    """The records of all vaults that match, in one order. Each vault records that it was read, and by whom. Raises
    VaultError for a record that is not as it was written."""
    with ExitStack() as stack:
        archives = [stack.enter_context(Archive(directory, by=by)) for directory in directories]
        vaults = [_named(archive, archive.search(wanted)) for archive in archives]
        yield from heapq.merge(*vaults, key=lambda placed: int(placed.record["time_ns"]))


def node_of(record: Record) -> str:
    """The machine that wrote a record, by its name among several; empty where it had none."""
    return str(record.get("boot", "")).rpartition(".")[0]


def _named(archive: Archive, records: Sequence[Record]) -> Iterator[Placed]:
    vault = archive.vault_id
    for record in records:
        yield Placed(vault, node_of(record), record)
