"""An excerpt of the log that proves itself: the chosen records whole, and of everything around them the chained part.

The file starts with a header, then holds every record from the first chosen one to a signed head, each either whole or
`withheld` (its chained part alone), and ends in that signature. `verify.py FILE` checks it without the vault.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from minivault.types import rfc3339
from minivault.vault.log import Log
from minivault.vault.proof.checkpoint import checkpoints, write_checkpoint
from minivault.vault.reader import Filter, Record, read_records
from minivault.vault.record import CONTENT_KEYS, VERSION, compact

CSV_COLUMNS = (
    "seq",
    "id",
    "timestamp",
    "status",
    "finish_reason",
    "api",
    "model",
    "key",
    "client",
    "prompt",
    "response",
    "fingerprint",
    "hash",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_jsonl(log: Log, wanted: Filter) -> Iterator[bytes]:
    """The lines of an excerpt and its proof. Raises OSError, and VaultError where there is nothing to sign."""
    return _proven(log, wanted, write_checkpoint(log))


def _proven(log: Log, wanted: Filter, head: dict[str, Any]) -> Iterator[bytes]:
    chosen = [r["seq"] for r in read_records(log.directory) if r["seq"] <= head["seq"] and wanted.matches(r)]
    first, last = (chosen[0], chosen[-1]) if chosen else (head["seq"], head["seq"])
    end = next((c for c in checkpoints(log.directory) if c["seq"] >= last and c["key"] == head["key"]), head)
    time_ns = log.clock()
    header = {"type": "export", "v": VERSION, "vault": log.vault_id(), "public_key": head["key"]}
    made = {"timestamp": rfc3339(time_ns), "filter": wanted.describe(), "from_seq": first, "to_seq": end["seq"]}
    yield compact({**header, **made, "records": len(chosen)}) + b"\n"
    for record in read_records(log.directory, from_seq=first):
        if record["seq"] > end["seq"]:
            break
        yield compact(record if wanted.matches(record) else _withheld(record)) + b"\n"
    yield compact(end) + b"\n"


def _withheld(record: Record) -> Record:
    """The chained part of a record, marked as lacking its content where it has any."""
    if "salt" not in record:
        return record
    kept = {key: value for key, value in record.items() if key not in CONTENT_KEYS and key != "salt"}
    return {**kept, "withheld": True}


def export_csv(records: Iterable[Record]) -> Iterator[str]:
    """A table for people, without proof. Cells that a spreadsheet would run as a formula are quoted with `'`."""
    yield _row(CSV_COLUMNS)
    for record in records:
        yield _row([safe_cell(record.get(name)) for name in CSV_COLUMNS])


def safe_cell(value: Any) -> str:
    """A cell's text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()
