"""What may not be removed yet: records younger than the retention floor, and those under a legal hold.

A hold is a record of the vault, `hold` with the command `add`, and ends with one of the command `release` that points
to it. So who set and lifted it, and when, is chained like everything else, and it binds every process that uses the
vault. What a hold says stays as long as it is in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from minivault.errors import Retained
from minivault.vault.place import Record, in_place, lawful
from minivault.vault.reader import Filter
from minivault.vault.texts import everything, has_text

SETTING = "MINIVAULT_VAULT_KEEP_DAYS"
DAY_NS = 86_400 * 10**9
_IS_HOLD = b'"type":"hold"'


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold in force: what it is called, what it covers, and the record that says so."""

    name: str
    wanted: Filter
    seq: int
    id: str
    at: str
    by: str
    reason: str = ""

    def covers(self, record: Record) -> bool:
        """Whether it keeps a record: what it asks for, and its own. A text may stand anywhere in the content, since too
        much is kept rather than too little."""
        if record["seq"] == self.seq:
            return True
        text = self.wanted.text
        return replace(self.wanted, text="").matches(record) and (not text or has_text(text, everything(record)))


@dataclass(frozen=True, slots=True)
class Keeping:
    """Everything that forbids to remove a record, at one moment."""

    keep_days: float
    now_ns: int
    holds: tuple[Hold, ...] = ()

    @classmethod
    def now(cls, directory: Path, keep_days: float, now_ns: int) -> Keeping:
        """With the holds in force; the caller keeps others from adding one. Raises VaultError."""
        return cls(keep_days, now_ns, tuple(holds_in_force(directory)))

    def is_young(self, record: Record) -> bool:
        """Whether a record is younger than the floor; by the clock, which may have been wrong."""
        return int(record["time_ns"]) > self.now_ns - int(self.keep_days * DAY_NS)

    def refusal(self, record: Record) -> str:
        """Why a record has to stay; empty where it may go."""
        cause = self.cause(record)
        return f"record {record['seq']} of {str(record['timestamp'])[:10]} stays: {cause}" if cause else ""

    def cause(self, record: Record) -> str:
        """What keeps a record, in the same words for all that it keeps; empty where nothing does."""
        if self.is_young(record):
            return f"{SETTING}={self.keep_days:g} keeps what is younger"
        hold = next((hold for hold in self.holds if hold.covers(record)), None)
        return f"the hold {hold.name!r} covers it (record {hold.seq})" if hold else ""

    def ensure_may_go(self, record: Record) -> None:
        """Raise Retained where it has to stay."""
        if why := self.refusal(record):
            raise Retained(f"{why}; nothing was removed")


def holds(directory: Path) -> Iterator[Record]:
    """Every record of a hold that was set or lifted. Raises VaultError."""
    found = in_place(directory, lambda line: _IS_HOLD in line)
    return (lawful(directory, record) for record in found if record["type"] == "hold")


def holds_in_force(directory: Path) -> list[Hold]:
    """The holds that nobody has lifted, oldest first. Raises VaultError."""
    found: dict[int, Hold] = {}
    for record in holds(directory):
        if record.get("command") == "add":
            found[record["seq"]] = _hold(record)
        elif record.get("command") == "release":
            found.pop(record.get("target_seq", 0), None)
    return list(found.values())


def _hold(record: Record) -> Hold:
    """What a record sets; one that cannot be understood keeps everything."""
    try:
        wanted = Filter.of(record["filter"])
    except (KeyError, TypeError, AttributeError, ValueError):
        wanted = Filter(type=None)
    name = str(record.get("name", f"of record {record['seq']}"))
    about = (record["seq"], str(record["id"]), str(record["timestamp"]), str(record.get("by")))
    return Hold(name, wanted, *about, reason=str(record.get("reason", "")))
