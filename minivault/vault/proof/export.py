"""An excerpt of the log that proves itself: the chosen records whole, and of everything around them the chained part.

The file starts with a header, then holds every record from the first chosen one to a signed head, each either whole or
`withheld` (its chained part alone), then that signature, and ends in a seal: a signature over every byte before it.
`verify.py FILE` checks it without the vault. Nothing is sealed that was not checked first.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.moment import rfc3339
from minivault.vault.log import Log
from minivault.vault.place import Record, ensure_redacted_by, whole_chain
from minivault.vault.proof.checkpoint import checkpoints, write_checkpoint
from minivault.vault.proof.key import SECRET, SigningKey
from minivault.vault.reader import Filter
from minivault.vault.record import canonical, compact, content_of, mark_of, marks_in

FORMAT = 2
WATCHED = 256

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


def export_jsonl(log: Log, wanted: Filter, watch: Callable[[int], None] | None = None) -> tuple[Iterator[bytes], int]:
    """The lines of an excerpt and its proof, and how many records were chosen; `watch` is told how many were looked at.

    Raises OSError, and VaultError where there is nothing to sign or the log was changed.
    """
    head = write_checkpoint(log)
    key = SigningKey.load(log.directory)
    if key is None or key.public != head["key"]:
        raise VaultError(f"{log.directory / SECRET} did not sign the last checkpoint; `vault checkpoint` signs anew")
    chosen = _choose(log.directory, wanted, head["seq"], watch)
    return _sealed(_proven(log, wanted, chosen, head), log, key, head), len(chosen)


def _choose(directory: Path, wanted: Filter, last: int, watch: Callable[[int], None] | None) -> list[int]:
    """The seqs of what is wanted. Every record is checked, and that what is redacted was redacted lawfully."""
    chosen: list[int] = []
    stubs: dict[tuple[int, str], Record] = {}
    for record in whole_chain(directory):
        if record["seq"] > last:
            break
        if watch is not None and record["seq"] % WATCHED == 0:
            watch(record["seq"])
        for mark in marks_in(record):
            stubs[record["seq"], mark] = record
        redacted = (record.get("target_seq"), mark_of(record.get("part")))
        if record.get("type") == "redaction" and redacted in stubs:
            ensure_redacted_by(stubs.pop(redacted), record)
        if wanted.matches(record):
            chosen.append(record["seq"])
    if stubs:
        raise VaultError(
            f"seq {min(stubs)[0]}: its content was removed and no redaction is recorded: run `vault verify`"
        )
    return chosen


def _proven(log: Log, wanted: Filter, chosen: Sequence[int], head: dict[str, Any]) -> Iterator[bytes]:
    first, last = (chosen[0], chosen[-1]) if chosen else (head["seq"], head["seq"])
    end = next((c for c in checkpoints(log.directory) if c["seq"] >= last and c["key"] == head["key"]), head)
    header = {"type": "export", "v": FORMAT, "vault": log.vault_id(), "public_key": head["key"]}
    made = {"timestamp": rfc3339(log.clock()), "filter": wanted.describe(), "from_seq": first, "to_seq": end["seq"]}
    yield compact({**header, **made, "records": len(chosen)}) + b"\n"
    whole, hash_ = set(chosen), ""
    for record in whole_chain(log.directory, from_seq=first):
        if record["seq"] > end["seq"]:
            break
        hash_ = record["hash"]
        yield compact(record if record["seq"] in whole else _withheld(record)) + b"\n"
    if hash_ != end["hash"]:
        raise VaultError(f"seq {end['seq']} is not the record that was signed: run `vault verify`")
    yield compact(end) + b"\n"


def _sealed(lines: Iterator[bytes], log: Log, key: SigningKey, head: dict[str, Any]) -> Iterator[bytes]:
    """The lines, and after them a signature over their bytes."""
    sha, count = hashlib.sha256(), 0
    for line in lines:
        sha.update(line)
        count += 1
        yield line
    time_ns = log.clock()
    said = {"type": "seal", "v": 1, "vault": head["vault"], "timestamp": rfc3339(time_ns), "time_ns": time_ns}
    fields = {**said, "lines": count, "sha256": "sha256:" + sha.hexdigest(), "key": key.public}
    yield compact({**fields, "signature": key.sign(canonical(fields))}) + b"\n"


def _withheld(record: Record) -> Record:
    """The chained part of a record, marked as lacking its content where it has any."""
    if "salt" not in record:
        return record
    content = content_of(record)
    kept = {key: value for key, value in record.items() if key not in content and key not in ("salt", "reasoning_salt")}
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
