"""An excerpt of the log that proves itself: the chosen records whole, each with its path to a signed tree head.

The file starts with a header, which holds that head, and ends in a seal: a signature over every byte before it. Of
records that were not chosen it tells nothing, except of the redactions of those that were. `evidence.py FILE` checks it
without the vault. Nothing is sealed that was not checked first.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.moment import rfc3339
from minivault.vault.log import Log
from minivault.vault.place import Record, ensure_redacted_by, whole_chain
from minivault.vault.proof.checkpoint import write_checkpoint
from minivault.vault.proof.key import SECRET, SigningKey, read_public
from minivault.vault.proof.prove import Prover, proving
from minivault.vault.reader import Filter
from minivault.vault.record import canonical, compact, content_of, mark_of, marks_in

FORMAT = 3
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
    last = write_checkpoint(log)["seq"]
    key = SigningKey.load(log.directory)
    if key is None:
        raise VaultError(f"{log.directory / SECRET} is gone; `vault checkpoint` makes another")
    chosen = _choose(log.directory, wanted, last, watch)
    return _sealed(log, wanted, chosen, key), sum(chosen.values())


def _choose(directory: Path, wanted: Filter, last: int, watch: Callable[[int], None] | None) -> dict[int, bool]:
    """The seqs of what is wanted (True), and of the redactions of it (False): these say why content is gone.

    Every record is checked, and that what is redacted was redacted lawfully.
    """
    chosen: dict[int, bool] = {}
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
            if redacted[0] in chosen:
                chosen[record["seq"]] = False
        if wanted.matches(record):
            chosen[record["seq"]] = True
    if stubs:
        raise VaultError(
            f"seq {min(stubs)[0]}: its content was removed and no redaction is recorded: run `vault verify`"
        )
    return chosen


def _proven(log: Log, wanted: Filter, chosen: Mapping[int, bool], prover: Prover) -> Iterator[bytes]:
    """A header, then each record with its audit path under the head that the header holds."""
    head = prover.signed
    header = {"type": "export", "v": FORMAT, "vault": log.vault_id(), "public_key": read_public(log.directory)}
    made = {"timestamp": rfc3339(log.clock()), "filter": wanted.describe(), "head": head.note}
    yield compact({**header, **made, "records": sum(chosen.values())}) + b"\n"
    first = min(chosen, default=0)
    for record in whole_chain(log.directory, from_seq=first) if chosen else ():
        seq = record["seq"]
        if seq in chosen:
            yield compact(record if chosen[seq] else _withheld(record)) + b"\n"
            yield compact({"type": "proof", "seq": seq, "path": prover.path(seq)}) + b"\n"
        if seq == max(chosen):
            break


def _sealed(log: Log, wanted: Filter, chosen: Mapping[int, bool], key: SigningKey) -> Iterator[bytes]:
    """The lines, and after them a signature over their bytes."""
    sha, count = hashlib.sha256(), 0
    with proving(log) as prover:
        for line in _proven(log, wanted, chosen, prover):
            sha.update(line)
            count += 1
            yield line
    time_ns = log.clock()
    said = {"type": "seal", "v": 1, "vault": log.vault_id(), "timestamp": rfc3339(time_ns), "time_ns": time_ns}
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
