#!/usr/bin/env python3
"""Check a vault, and receipts against it, without MiniVault: `python verify.py DIRECTORY [options]`.

This file is the auditor's: it uses the Python standard library only, imports nothing of the program that wrote the log,
and re-implements the format of docs/vault.md from its text. That is also why it is one file and longer than others. It
reads each line once, holds one at a time, and writes nothing. From top to bottom: Ed25519; the tree over all records;
one record; the whole log (`Verifier` puts each record before every check); files; receipts; the command line.

What was given out of a vault and is checked without it (excerpts, proofs), and what others say of it (witnesses,
timestamps, a server), is the matter of `evidence.py`, which needs this file beside it.

Exit status: 0 intact; 1 intact, with traces of a crash; 2 changed since it was written (the first bad seq is named);
3 something could not be read, or of what was kept elsewhere nothing could be compared; 64 wrong arguments, and nothing
was checked.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

fcntl: Any = None
with suppress(ImportError):  # an auditor's machine need not be Linux
    import fcntl

INTACT, CRASH, TAMPERED, UNREADABLE, MISUSED = 0, 1, 2, 3, 64
VERDICTS = {
    INTACT: "intact",
    CRASH: "intact, with traces of a crash",
    TAMPERED: "TAMPERED",
    UNREADABLE: "UNREADABLE",
}
NO_HASH = "sha256:" + "0" * 64
ACTIVE = "log.jsonl"
HEADS, TREE = "heads.jsonl", "tree.hashes"
CONTENT_KEYS_1 = frozenset(
    (
        *("prompt", "response", "request", "rendered_prompt", "prompt_tokens", "completion_tokens"),
        *("client", "user_agent"),
    )
)
"""Format 1: these are content, every other key is chained."""
CHAINED_KEYS_2 = frozenset(
    (
        *("type", "v", "seq", "id", "timestamp", "time_ns", "boot", "prev", "content_sha256"),
        *("status", "finish_reason", "model", "source", "api", "stream", "key", "usage", "timings", "fingerprint"),
        *("sent", "reconstructed", "sync", "pid", "version", "settings_digest", "vault", "public_key", "previous"),
        *("lines", "last_seq", "last_hash", "sha256", "torn_bytes", "since", "since_ns", "until_ns", "refused"),
        *("late", "by", "command", "records", "target_id", "target_seq", "segment", "sha256_before", "sha256_after"),
        *("keep_days", "segments", "parts", "control_text"),
    )
)
"""Format 2: these are chained, every other key is content."""
CHAINED_KEYS_3 = CHAINED_KEYS_2 | {"part", "reasoning_sha256"}
"""Format 3: the same with these, of records of which a part can be redacted apart and of such redactions."""
PART_KEYS_3 = frozenset(("reasoning", "completion_tokens"))
"""That part, where `reasoning_sha256` commits to it."""
MARKS = frozenset(("salt", "redacted", "withheld", "hash"))
MARKS_3 = MARKS | {"reasoning_salt", "reasoning_redacted"}
MAX_LINE_MB = 64
MAX_ARGUMENT = 64 << 20
PIECE = 1 << 20
MAX_PARTS = 1 << 19
LOCK_WAIT_S = 30.0
MAX_FINDINGS = 50
WATCHED = 256
SALTS = ("salt", "reasoning_salt")
"""Members of a receipt that nothing signs: they open the commitments that are signed."""
PLACED = ("vault", "seq", "id", "timestamp", "time_ns", "hash", "prev", "content_sha256", "reasoning_sha256")
"""Members of a receipt that its record decides."""
TIMES = ("timestamp", "time_ns")
"""Of these a receipt has one: the second in format 1."""
SPELLED = ("vault", "id", "hash", "prev", "key", "signature")

Fields = dict[str, Any]
canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().decode
_RECEIPT = re.compile(r'(?<!\\)"receipts?"')
_BEGINNING = b'{"type":"'
_SEALED = re.compile(r"log-(\d{12,})\.jsonl(\.gz)?")


class Bad(Exception):
    """A line that is not what the log's writer would have written; the message says why."""


class Misused(Exception):
    """The arguments do not fit, so nothing was checked; the message says which and what to do."""


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse(line: bytes) -> Fields | None:
    """The JSON object of a line; None where there is none, or one of more parts than a record has."""
    if len(line) > PIECE and _sprawls(line):
        return None
    try:
        fields = _decode(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def parse_given(text: str) -> Fields | None:
    """The JSON object of a text that was kept elsewhere, however it is laid out; None where there is none, or one that
    names a member twice, which others may read otherwise."""
    if len(text) > PIECE and _sprawls(text.encode("utf-8", "replace")):
        return None
    try:
        fields = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _once(members: list[tuple[str, Any]]) -> Fields:
    fields = dict(members)
    if len(fields) != len(members):
        raise ValueError("a member is there twice")
    return fields


def _sprawls(line: bytes) -> bool:
    """Whether a large line is made of very many small things, which would take some twenty times its size in memory."""
    plain = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > MAX_PARTS:
        return True
    outside = b"".join(plain.split(b'"')[::2])
    return outside.count(b"{") + outside.count(b"[") > MAX_PARTS


# --- Ed25519 (RFC 8032 §5.1.7), enough to check a signature ---------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
Point = tuple[int, int, int, int]


def _add(a: Point, b: Point) -> Point:
    e = (a[1] - a[0]) * (b[1] - b[0]) % _P
    f = (a[1] + a[0]) * (b[1] + b[0]) % _P
    g = 2 * a[3] * b[3] * _D % _P
    h = 2 * a[2] * b[2] % _P
    i, j, k, m = f - e, h - g, h + g, f + e
    return i * j % _P, k * m % _P, j * k % _P, i * m % _P


def _point(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


_BASE = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature (64 bytes) of `message` is by the key `public` (32 bytes)."""
    key = _point(public) if len(public) == 32 else None
    if key is None or len(signature) != 64 or _BASE is None:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= _L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    minus_key = (_P - key[0], key[1], 1, _P - key[3])
    terms = {1: _BASE, 2: minus_key, 3: _add(_BASE, minus_key)}
    total: Point = (0, 1, 1, 0)
    for bit in range(252, -1, -1):  # s·B - h·A in one pass over both scalars
        total = _add(total, total)
        which = (s >> bit & 1) | (h >> bit & 1) << 1
        if which:
            total = _add(total, terms[which])
    inverse = pow(total[2], -1, _P)
    x, y = total[0] * inverse % _P, total[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def unwrap(text: object) -> bytes:
    """The raw bytes of `ed25519:<base64>`; empty where it is nothing of the kind."""
    if not isinstance(text, str) or not text.startswith("ed25519:"):
        return b""
    try:
        return base64.b64decode(text[8:], validate=True)
    except ValueError:
        return b""


# --- the tree over all records (RFC 6962), and signed notes about it (C2SP) -------------------------------------------

_BODY = r"(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]{0,17})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
_LINES = r"\n(?P<lines>(?:\u2014 [^\n]+\n){1,100})"
_NOTE = re.compile(rf"(?P<text>{_BODY}(?:[^\n]+\n)*){_LINES}")
_NOTES = re.compile(rf"^(?P<text>{_BODY}){_LINES}", re.MULTILINE)
"""Those of vaults, which have no more lines, anywhere in a file."""
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_ORIGIN = re.compile(r"minivault/([0-9a-f-]{36})(?:/([1-9][0-9]{0,17}))?")
LOG_KEY = 1
"""The type of a log's signature in a note; witnesses sign with others."""


class Merkle:
    """The tree over the leaves so far, as the roots of its complete subtrees, from the left."""

    def __init__(self, peaks: Iterable[tuple[int, bytes]] = ()) -> None:
        self.peaks = list(peaks)
        """How many leaves each has, and its hash."""
        self.size = sum(count for count, _ in self.peaks)

    def add(self, record_hash: bytes) -> None:
        count, node = 1, hashlib.sha256(b"\0" + record_hash).digest()
        while self.peaks and self.peaks[-1][0] == count:
            node = node_hash(self.peaks.pop()[1], node)
            count *= 2
        self.peaks.append((count, node))
        self.size += 1

    def root(self) -> bytes:
        node = self.peaks[-1][1] if self.peaks else hashlib.sha256(b"").digest()
        for _, left in reversed(self.peaks[:-1]):
            node = node_hash(left, node)
        return node


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True)
class TreeNote:
    """A checkpoint (C2SP tlog-checkpoint): a note about a tree, and who has signed it."""

    text: str
    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """The name, and the key's id with the signature."""
    digest: bytes = b""
    """Of the note as the vault signed it: what a timestamp is of."""
    timestamps: tuple[bytes, ...] = ()
    """Responses of timestamp authorities (RFC 3161)."""

    @property
    def vault(self) -> str:
        match = _ORIGIN.fullmatch(self.origin)
        return match[1] if match else ""

    @property
    def base(self) -> int:
        """The seq of the first leaf."""
        match = _ORIGIN.fullmatch(self.origin)
        return int(match[2] or 1) if match else 0

    @property
    def last_seq(self) -> int:
        return self.base + self.size - 1

    def is_signed_by(self, key: bytes) -> bool:
        """Whether a log's key has signed it, under the log's name."""
        id_ = note_key_id(self.origin, LOG_KEY, key)
        found = [data[4:] for name, data in self.signatures if (name, data[:4]) == (self.origin, id_)]
        return bool(found) and all(is_signed(key, self.text.encode(), signature) for signature in found)


def note_key_id(name: str, type_: int, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([type_]) + key).digest()[:4]


def parse_note(text: str) -> TreeNote | None:
    """The checkpoint that a text is, byte for byte; None where it is none."""
    match = _NOTE.fullmatch(text)
    return None if match is None or _CONTROL.search(text) else _note_of(match)


def parse_notes(text: str) -> list[TreeNote]:
    """The checkpoints in a text among other lines, without those that say more than a vault's."""
    return [note for match in _NOTES.finditer(text) if (note := parse_note(match[0])) is not None]


def _note_of(match: re.Match[str]) -> TreeNote | None:
    signatures = []
    for line in match["lines"][:-1].split("\n"):
        name, _, data = line[2:].partition(" ")
        raw = unbase64(data)
        if not name or len(raw) < 5:
            return None
        signatures.append((name, raw))
    root, sha = unbase64(match["root"]), hashlib.sha256(match[0].encode()).digest()
    return TreeNote(match["text"], match["origin"], int(match["size"]), root, tuple(signatures), sha)


def unbase64(text: object) -> bytes:
    """The bytes of a text in base64, in its one spelling; empty where it is none."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return b""
    return data if base64.b64encode(data).decode("ascii") == text else b""


# --- one record ------------------------------------------------------------------------------------------------------


def check_form(fields: Fields, line: bytes) -> None:
    """Its spelling and types: a space or a doubled key is a change too, though the values hash the same."""
    try:
        spelled = compact(fields).encode("ascii")
    except (ValueError, RecursionError):
        raise Bad("it holds a value no record can hold") from None
    if spelled != line:
        raise Bad("it is not spelled as the log's writer spells")
    for key, type_ in (("type", str), ("seq", int), ("time_ns", int), ("prev", str), ("hash", str)):
        if type(fields.get(key)) is not type_:
            raise Bad(f"`{key}` is missing or of another type")
    if type(fields.get("v")) is not int or fields["v"] not in (1, 2, 3):
        raise Bad(f"it has format version {fields.get('v')!r}; this verifier knows versions 1 to 3")


def content_of(fields: Fields) -> Fields:
    if fields["v"] == 1:
        return {key: value for key, value in fields.items() if key in CONTENT_KEYS_1}
    chained, marks = (CHAINED_KEYS_2, MARKS) if fields["v"] == 2 else (CHAINED_KEYS_3, MARKS_3)
    return {key: value for key, value in fields.items() if key not in chained and key not in marks}


def part_of(fields: Fields) -> Fields:
    """What of the content is committed to apart."""
    is_parted = fields["v"] == 3 and "reasoning_sha256" in fields
    return {key: value for key, value in fields.items() if key in PART_KEYS_3} if is_parted else {}


def check_hash(fields: Fields) -> None:
    content, marks = content_of(fields), MARKS_3 if fields["v"] == 3 else MARKS
    chained = {key: value for key, value in fields.items() if key not in content and key not in marks}
    if digest(canonical(chained).encode("ascii")) != fields["hash"]:
        raise Bad("its hash is not that of its fields")


def check_content(fields: Fields, is_excerpt: bool) -> None:
    """The content against its commitment, or its lawful absence."""
    content, part = content_of(fields), part_of(fields)
    absent = [key for key in ("redacted", "withheld") if key in fields]
    if fields["v"] == 3:
        check_part(fields, part, is_gone=bool(absent))
    if "content_sha256" not in fields:
        if content or absent or "salt" in fields:
            raise Bad("it has content that its hash does not cover")
    elif absent:
        if content or "salt" in fields or (absent == ["withheld"] and not is_excerpt) or len(absent) > 1:
            raise Bad(f"it is marked {absent[0]} without cause")
        if fields.get("withheld", True) is not True:
            raise Bad("its mark `withheld` holds something")
    else:
        check_commitment(fields, {key: content[key] for key in content if key not in part}, "salt", "content_sha256")


def check_part(fields: Fields, part: Fields, is_gone: bool) -> None:
    """The part against its own commitment, or its lawful absence: with all else, or apart."""
    is_redacted = "reasoning_redacted" in fields
    if is_redacted and "reasoning_sha256" not in fields:
        raise Bad("it is marked reasoning_redacted without cause")
    if is_redacted or is_gone or "reasoning_sha256" not in fields:
        if part or "reasoning_salt" in fields:
            raise Bad("it has thoughts that are marked as gone, or that its hash does not cover")
    else:
        check_commitment(fields, part, "reasoning_salt", "reasoning_sha256")


def check_commitment(fields: Fields, content: Fields, salt_key: str, digest_key: str) -> None:
    if fields[digest_key] != digest(_salt(fields, salt_key) + canonical(content).encode("ascii")):
        raise Bad("its content has been changed")


def _salt(fields: Fields, key: str) -> bytes:
    salt = fields.get(key)
    if not isinstance(salt, str) or not re.fullmatch("[0-9a-f]{32}", salt):
        raise Bad("its salt is missing or no salt")
    return bytes.fromhex(salt)


# --- the whole log ---------------------------------------------------------------------------------------------------


@dataclass
class Finding:
    """Something that is not as it should be. `seq` is the record, or the place in the log, that it concerns."""

    severity: int
    seq: int
    file: str
    message: str


@dataclass
class Note:
    """Something that was done lawfully and that a reader should know: a prune, a gap, a redaction."""

    seq: int
    kind: str
    message: str


@dataclass
class Report:
    """What was checked, what was found, what was done lawfully, and what this cannot prove."""

    vault: str = ""
    public_key: str = ""
    first_seq: int = 0
    seq: int = 0
    hash: str = NO_HASH
    num_records: int = 0
    num_segments: int = 0
    num_signatures: int = 0
    num_redacted: int = 0
    num_withheld: int = 0
    num_prunes: int = 0
    num_gaps: int = 0
    num_kept: int = 0
    num_compared: int = 0
    num_receipts: int = 0
    num_heads: int = 0
    num_timestamps: int = 0
    is_key_pinned: bool = False
    expected_head_seq: int | None = None
    findings: list[Finding] = field(default_factory=list)
    num_findings: int = 0
    notes: list[Note] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    exit_code: int = INTACT

    @property
    def first_bad_seq(self) -> int | None:
        return min((f.seq for f in self.findings if f.severity == TAMPERED), default=None)


@dataclass
class File:
    """What was seen of one segment, to compare with what the next one says of it."""

    name: str
    lines: int = 0
    sha: Any = field(default_factory=hashlib.sha256)
    last_seq: int = 0


class Reading:
    """How far the log has been read, and what was found in it: what every check below knows."""

    def __init__(self, is_excerpt: bool) -> None:
        self.report = Report()
        self.is_excerpt = is_excerpt
        self.file = File("")
        self.before = NO_HASH
        """The hash that the first record follows."""
        self.record: Fields = {}
        """The one read last."""

    def found(self, severity: int, seq: int, message: str) -> None:
        self.report.num_findings += 1
        worst = {INTACT: 0, CRASH: 1, UNREADABLE: 2, TAMPERED: 3}
        self.report.exit_code = max(self.report.exit_code, severity, key=lambda code: worst[code])
        if len(self.report.findings) < MAX_FINDINGS:
            self.report.findings.append(Finding(severity, seq, self.file.name, message))

    def note(self, seq: int, kind: str, message: str) -> None:
        if len(self.report.notes) < MAX_FINDINGS:
            self.report.notes.append(Note(seq, kind, message))

    def advance(self, fields: Fields) -> None:
        """Go on from this record, also from a bad one, so that one change is not reported for every later line."""
        report, self.record = self.report, fields
        seq = fields.get("seq")
        report.seq = seq if type(seq) is int and abs(seq) < 1 << 62 else report.seq + 1
        report.hash = str(fields.get("hash"))
        if not report.num_records:
            report.first_seq, self.before = report.seq, str(fields.get("prev"))
        report.num_records += 1
        report.num_withheld += "withheld" in fields
        self.file.last_seq = report.seq


class Chain:
    """Each record follows the one before, and bytes that are no record are those that a crash is said to have left."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.junk, self.junk_sha, self.junk_ended = 0, hashlib.sha256(), False
        self.junk_is_blank = True
        self.is_broken = False
        """Whether the line before could not be read, so that the next follows what nobody knows."""
        self.start: tuple[int, str] | None = None
        self.start_told_by = 0
        """The seq of the prune that says why the log starts where it does."""

    def check(self, fields: Fields) -> None:
        is_excerpt, report = self.reading.is_excerpt, self.reading.report
        if fields["type"] == "recovered" and not is_excerpt:
            self._check_recovered(fields)
        elif self.junk:
            raise Bad(f"the {self.take_junk()[0]} bytes before it are no record and no crash is recorded")
        if not report.num_records:
            self._check_start(fields)
        elif fields["seq"] != report.seq + 1:
            raise Bad(f"a record that calls itself seq {fields['seq']} stands in its place")
        elif fields["prev"] != report.hash and not self.is_broken:
            raise Bad("it does not follow the record before it")

    def _check_recovered(self, fields: Fields) -> None:
        is_blank = self.junk_is_blank
        size, sha = self.take_junk()
        told = fields.get("sha256" if fields.get("v") == 1 else "torn_sha256")
        if "redacted" in fields and fields.get("v") != 1:
            if not size or not is_blank:
                raise Bad("it was redacted and the torn bytes before it were not")
        elif not size or (size - 1, sha) != (fields.get("torn_bytes"), told):
            raise Bad("it describes torn bytes other than those before it")
        message = f"seq {fields['seq']}: a crash left {size - 1} bytes that are no record"
        self.reading.found(CRASH, fields["seq"], message)

    def _check_start(self, fields: Fields) -> None:
        if fields["seq"] == 1:
            if fields["prev"] != NO_HASH or fields["type"] != "genesis":
                raise Bad("the log does not start with its genesis record")
        elif not self.reading.is_excerpt:
            self.start = (fields["seq"] - 1, fields["prev"])

    def add_junk(self, line: bytes) -> None:
        """Bytes that are no record; the newline that ends them was added by the writer that found them."""
        self.junk_sha.update(b"\n" if self.junk_ended else b"")
        self.junk_sha.update(line.removesuffix(b"\n"))
        self.junk_is_blank = self.junk_is_blank and line == b"\n"
        self.junk, self.junk_ended = self.junk + len(line), line.endswith(b"\n")

    def take_junk(self) -> tuple[int, str]:
        """The size and digest of what had gathered, which is accounted for now."""
        size, sha = self.junk, "sha256:" + self.junk_sha.hexdigest()
        self.junk, self.junk_sha, self.junk_ended = 0, hashlib.sha256(), False
        self.junk_is_blank = True
        return size, sha

    def end_file(self, is_last: bool) -> None:
        """Account for bytes at the end of a file that are no record."""
        if self.junk:
            severity = CRASH if is_last and self.reading.file.name == ACTIVE else TAMPERED
            seq = self.reading.report.seq + 1
            self.reading.found(severity, seq, f"{self.take_junk()[0]} bytes at its end are no record")

    def on_genesis(self, fields: Fields) -> None:
        if fields["seq"] != 1 and not self.reading.is_excerpt:
            raise Bad("a genesis record stands inside the log")

    def on_prune(self, fields: Fields) -> None:
        """A log may start where a later record says that it was pruned, if that record is itself signed for."""
        segments = _dicts(fields.get("segments"))
        for segment in segments:
            if self.start == (segment.get("last_seq"), segment.get("last_hash")):
                self.start_told_by = self.start_told_by or fields["seq"]
        self.reading.report.num_prunes += 1
        span = f"seq {segments[0].get('first_seq')} to {segments[-1].get('last_seq')}" if segments else "nothing"
        self.reading.note(fields["seq"], "prune", f"seq {fields['seq']}: {span} pruned by {fields.get('by')}")

    def on_gap(self, fields: Fields) -> None:
        self.reading.report.num_gaps += 1
        refused, since = fields.get("refused"), fields.get("since")
        self.reading.note(fields["seq"], "gap", f"seq {fields['seq']}: {refused} refused since {since}")

    def finish(self, signed_seq: int) -> None:
        """`signed_seq` is how far a key that may be believed has signed the log."""
        if self.start is None:
            return
        first = self.reading.report.first_seq
        if not self.start_told_by:
            self.reading.found(TAMPERED, 1, f"the log starts at seq {first} and no record says that it was pruned")
        elif signed_seq < self.start_told_by:
            message = (
                f"seq {self.start_told_by} says why the log starts at seq {first}, and no trusted key has signed it"
            )
            self.reading.found(TAMPERED, 1, message)


class Segments:
    """Each file is what the first record of the next one, and every later redaction in it, says that it is."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.previous: File | None = None
        self.digests: dict[str, tuple[int, str, set[str]]] = {}
        """By name: the last seq, the digest found, and those that would be right."""

    def begin_file(self, name: str) -> None:
        reading = self.reading
        self.previous, reading.file = (reading.file if reading.report.num_segments else None), File(name)
        reading.report.num_segments += 1

    def check(self, fields: Fields) -> None:
        """The first record of a file, bar `recovered` ones, describes the file before."""
        if self.reading.is_excerpt:
            return
        named = _SEALED.fullmatch(self.reading.file.name)
        if named and not self.reading.file.last_seq and int(named[1]) != fields["seq"]:
            raise Bad(f"{self.reading.file.name} is not named for it")
        if self.previous is None:
            if fields["type"] == "segment" and self.reading.report.num_records:
                raise Bad("a segment record stands inside a segment")
        elif fields["type"] != "recovered":
            before, self.previous = self.previous, None
            self._check_opening(fields, before)

    def _check_opening(self, fields: Fields, before: File) -> None:
        if fields["type"] != "segment":
            raise Bad("the file does not start with a segment record")
        actual, sha = (before.name, before.lines, before.last_seq), "sha256:" + before.sha.hexdigest()
        if actual != (fields.get("previous"), fields.get("lines"), fields.get("last_seq")):
            raise Bad(f"the file before it, {before.name}, is not the one it describes")
        self.digests[before.name] = (before.last_seq, sha, {str(fields.get("sha256"))})

    def redact(self, fields: Fields, is_done: bool) -> None:
        """A redaction takes a file from one digest to the next; one that was not carried out may also leave it."""
        name = fields.get("segment")
        if isinstance(name, str) and name in self.digests:
            last, actual, allowed = self.digests[name]
            if fields.get("sha256_before") in allowed:
                keep = set() if is_done else {str(fields["sha256_before"])}
                self.digests[name] = (last, actual, {str(fields.get("sha256_after"))} | keep)

    def finish(self) -> None:
        for name, (last, actual, allowed) in self.digests.items():
            if actual not in allowed:
                self.reading.found(TAMPERED, last, f"{name} is not the file that was sealed")


class Redactions:
    """Where content is gone a later record says so, and where one says so the content is gone."""

    def __init__(self, reading: Reading, segments: Segments) -> None:
        self.reading = reading
        self.segments = segments
        self.stubs: dict[tuple[int, str], Any] = {}
        """By seq and mark."""

    def check(self, fields: Fields) -> None:
        marks = [
            mark for mark in ("redacted", "reasoning_redacted") if mark in fields and mark not in content_of(fields)
        ]
        self.reading.report.num_redacted += bool(marks)
        self.stubs.update({(fields["seq"], mark): fields[mark] for mark in marks})

    def on_redaction(self, fields: Fields) -> None:
        target, part = fields.get("target_seq"), fields.get("part") if fields["v"] == 3 else None
        if part not in (None, "reasoning"):
            raise Bad("it redacts a part that no record has")
        mark = "redacted" if part is None else "reasoning_redacted"
        stub = self.stubs.pop((target, mark), None) if type(target) is int else None
        is_done = stub is not None or (part is not None and (target, "redacted") in self.stubs)
        expected = {"at": fields.get("timestamp"), "by": fields.get("by"), "record": fields["seq"]}
        if fields["v"] == 1:
            expected["reason"] = fields.get("reason")
        self.reading.note(
            fields["seq"], "redaction", f"seq {target}: redacted by {fields.get('by')}, seq {fields['seq']}"
        )
        if stub is not None and stub != expected:
            raise Bad(f"it redacts seq {target}, which says otherwise")
        is_here = type(target) is int and self.reading.report.first_seq <= target
        if not is_done and is_here and not self.reading.is_excerpt:
            message = f"seq {fields['seq']}: the redaction of seq {target} was not carried out"
            self.reading.found(CRASH, fields["seq"], message)
        self.segments.redact(fields, is_done)

    def finish(self) -> None:
        for (seq, _), stub in self.stubs.items():
            if self.reading.is_excerpt and _later(stub, self.reading.report.seq):
                told = f"that seq {seq} was redacted by a record after the excerpt: only the exporter says so"
                self.reading.report.unproven.append(told)
            else:
                self.reading.found(TAMPERED, seq, f"seq {seq}: its content was removed and no redaction is recorded")


class Signatures:
    """Heads that were signed or noted are still in the log, and only its own keys have signed.

    `kept` are checkpoints or receipts from elsewhere, in order. What they and a pinned key say is believed; a key that
    the log itself names is believed only where there is neither, or where a believed one has signed what names it. What
    such a key covers may have been signed by those that the log named before.
    """

    def __init__(self, reading: Reading, public_key: str, expect_head: str, kept: list[Fields]) -> None:
        self.reading = reading
        self.keys = [public_key] if public_key else []
        self.named: list[str] = []
        """All that the log itself names."""
        self.successors: list[str] = []
        """Those among them that no believed key has signed for yet."""
        self.former: list[tuple[int, str]] = []
        """Where something is signed by one of them and not by a pinned key, and what."""
        self.pinned = bool(public_key)
        self.trusted = {public_key} if public_key else {str(checkpoint["key"]) for checkpoint in kept}
        self.expect_head = expect_head
        self.kept = kept
        self.num_passed = 0
        self.own: Iterator[Fields] = iter(())
        self.next_own: Fields | None = None
        self.signed_seq = 0
        """The last seq at which a believed signature fits the log."""
        reading.report.num_kept, reading.report.is_key_pinned = len(kept), self.pinned
        """How many were kept elsewhere, tree heads included."""

    def learn(self, fields: Fields, is_new: bool = False) -> None:
        """The vault's id and key, where they were not known; with `is_new` the key that follows."""
        vault, key = fields.get("vault"), fields.get("public_key")
        self.reading.report.vault = self.reading.report.vault or str(vault or "")
        if not isinstance(key, str) or not key:
            return
        if key not in self.named:
            self.named.append(key)
        if is_new:
            self.reading.note(fields["seq"], "key", f"seq {fields['seq']}: from here on {key} signs")
        if is_new and key not in self.keys:
            (self.successors if self.pinned else self.keys).append(key)
        elif not self.keys:
            self.keys.append(key)

    def add_own(self, source: Iterator[Fields]) -> None:
        self.own = source

    def match(self) -> None:
        """Compare the record just read with the heads of its place; the first one also with those before it."""
        report = self.reading.report
        if self.expect_head and report.hash == self.expect_head:
            report.expected_head_seq = report.seq
        while self.num_passed < len(self.kept) and self.kept[self.num_passed]["seq"] <= report.seq:
            self.num_passed += 1
            self.check_kept(self.kept[self.num_passed - 1])
        while (checkpoint := self._next()) is not None and checkpoint["seq"] <= report.seq:
            self.next_own = None
            self.check_checkpoint(checkpoint)

    def _next(self) -> Fields | None:
        if self.next_own is None:
            self.next_own = next(self.own, None)
        return self.next_own

    def check_kept(self, checkpoint: Fields) -> None:
        """One that was kept elsewhere; where its place is not in the log, it is not compared and does not count."""
        if checkpoint["seq"] >= self.reading.report.first_seq - 1:
            self.reading.report.num_compared += 1
        self.check_checkpoint(checkpoint, is_verified=True)
        if checkpoint["type"] == "receipt" and checkpoint["seq"] == self.reading.report.seq:
            self._check_receipt(checkpoint, self.reading.record)

    def _check_receipt(self, receipt: Fields, record: Fields) -> None:
        """What a receipt says of its record, beside the hash."""
        seq, said = receipt["seq"], {**record, "vault": receipt["vault"]}
        if differ(receipt, said):
            self.reading.found(TAMPERED, seq, f"seq {seq}: a receipt says otherwise of the record there")
        if "redacted" in record:
            self.reading.note(seq, "redaction", f"seq {seq}: what the receipt is of has been redacted since")
        elif any(receipt[name] != record.get(name) for name in SALTS if name in receipt and name in record):
            self.reading.found(TAMPERED, seq, f"seq {seq}: a receipt has another salt than the record")

    def check_checkpoint(self, checkpoint: Fields, is_verified: bool = False) -> None:
        """A signed head against the record at its place; earlier places (pruned) by its signature alone."""
        report, found = self.reading.report, self.reading.found
        seq, key, what = checkpoint["seq"], checkpoint.get("key"), checkpoint.get("type")
        at = {report.seq: report.hash, report.first_seq - 1: self.reading.before}
        fits = checkpoint.get("hash") == at.get(seq)
        if seq in at and not fits:
            found(TAMPERED, seq, f"seq {seq}: it is not the record that was signed")
        self._check_vault(checkpoint)
        is_former = self.pinned and key not in self.keys and key in self.named
        if key not in self.keys and not is_former and self.is_asked(seq, is_kept=is_verified):
            self._report_another(seq, what)
        elif not is_verified and not is_signature(checkpoint, "checkpoint"):
            found(TAMPERED, seq, f"seq {seq}: the signature of a checkpoint is not valid")
        elif is_former:
            self.former.append((seq, str(what)))
        elif fits and seq == report.seq and (not self.trusted or key in self.trusted):
            self._believe(seq)
        report.num_signatures += 1

    def _believe(self, seq: int) -> None:
        """A believed key has signed up to here, and so for whoever is named up to here as the one to sign next."""
        self.signed_seq = max(self.signed_seq, seq)
        self.keys += self.successors
        if self.pinned:
            self.trusted.update(self.successors)
        self.successors.clear()

    def _report_another(self, seq: int, what: object) -> None:
        either = "; either --pubkey is not this vault's or this is not the vault that it was" if self.pinned else ""
        self.reading.found(TAMPERED, seq, f"seq {seq}: a {what} is signed by another key{either}")

    def _check_vault(self, checkpoint: Fields) -> bool:
        """Whether it is of this vault, as far as that is known."""
        seq, vault, here = checkpoint["seq"], checkpoint.get("vault"), self.reading.report.vault
        if not here or vault == here:
            return True
        told = f"seq {seq}: a {checkpoint.get('type')} belongs to another vault, {vault}, and this is {here}"
        self.reading.found(TAMPERED, seq, told)
        return False

    def is_asked(self, seq: int, is_kept: bool) -> bool:
        """Whether it matters who signed what ends there: the log may name the key of what was pruned no longer."""
        return seq >= self.reading.report.first_seq or (is_kept and self.pinned)

    def keys_at(self, seq: int) -> list[str]:
        """Whose signature may stand under what ends with a record, once all are read."""
        return self.keys + (self.named if seq <= self.signed_seq else [])

    def finish(self) -> None:
        report, found = self.reading.report, self.reading.found
        for seq, what in self.former:
            if seq > self.signed_seq:
                self._report_another(seq, what)
        kept = self.kept[self.num_passed :] if report.num_segments else []  # a place without any log has lost nothing
        later = [*kept, *_left(self._next(), self.own)]
        for checkpoint in filter(self._check_vault, [] if self.reading.is_excerpt else later):
            at, what = checkpoint["seq"], checkpoint["type"]
            found(TAMPERED, report.seq + 1, f"the log ends at seq {report.seq}; a {what} signed {at}")
        if self.kept and not report.num_compared and report.exit_code != TAMPERED:
            found(
                UNREADABLE, report.first_seq, f"no kept {self.kept[0]['type']} is of a place in it: none was compared"
            )
        elif report.num_compared < len(self.kept):
            missing, what = len(self.kept) - report.num_compared, self.kept[0]["type"]
            report.unproven.append(f"{missing} kept {what}s are of places outside it")
        if self.expect_head and report.expected_head_seq is None:
            found(TAMPERED, report.seq + 1, f"no record has the expected hash {self.expect_head}")
        report.public_key = self.keys[-1] if self.keys else ""


def _left(first: Fields | None, rest: Iterator[Fields]) -> Iterator[Fields]:
    if first is not None:
        yield first
        yield from rest


def is_signature(fields: Fields, type_: str) -> bool:
    """Whether a checkpoint, a seal or a receipt is what its own key signed."""
    unsigned = ("signature", *SALTS) if type_ == "receipt" else ("signature",)
    message = {key: value for key, value in fields.items() if key not in unsigned}
    signature, key = unwrap(fields.get("signature")), unwrap(fields.get("key"))
    return fields.get("type") == type_ and is_signed(key, canonical(message).encode("ascii"), signature)


class Heads:
    """The tree over the records has the roots that were signed, in the vault and in notes that were kept elsewhere."""

    def __init__(self, reading: Reading, signatures: Signatures, kept: list[TreeNote]) -> None:
        self.reading = reading
        self.signatures = signatures
        self.kept = kept
        self.own: list[TreeNote] = []
        self.left: list[TreeNote] = []
        self.trees: dict[int, Merkle] = {}
        """By the seq of the first leaf."""
        self.stored: Callable[[int, int], Merkle | None] = lambda _base, _size: None
        """What the vault's own file has of a tree's beginning, which a signed root alone makes credible."""
        reading.report.num_kept += len(kept)

    def begin(self, own: list[TreeNote], stored: Callable[[int, int], Merkle | None]) -> None:
        self.own, self.stored = own, stored
        self.left = sorted([*own, *self.kept], key=lambda note: note.last_seq, reverse=True)

    def match(self) -> None:
        """Take the record just read into every tree, and compare the heads that end with it."""
        if not self.left:
            return
        seq = self.reading.report.seq
        for base in {note.base for note in self.left} - self.trees.keys():
            if base == seq:
                self.trees[base] = Merkle()
            elif base < seq and (tree := self.stored(base, seq - base)) is not None:
                self.trees[base] = tree
        for tree in self.trees.values():
            tree.add(hash_bytes(self.reading.report.hash))
        while self.left and self.left[-1].last_seq <= seq:
            self._compare(self.left.pop(), seq)

    def _compare(self, note: TreeNote, seq: int) -> None:
        tree, report = self.trees.get(note.base), self.reading.report
        if tree is not None and tree.size == note.size:
            report.num_heads += 1
            report.num_compared += any(note is kept for kept in self.kept)
            if tree.root() != note.root:
                self.reading.found(
                    TAMPERED, seq, f"seq {seq}: the records up to it are not those whose tree was signed"
                )
        elif note.last_seq >= report.first_seq:
            told = f"the tree head of size {note.size}: what the tree begins with was pruned and is not kept"
            report.unproven.append(told)

    def finish(self) -> None:
        """What a head covers may have been signed by a key that only a later record names."""
        report, found = self.reading.report, self.reading.found
        if not report.num_segments:  # of a place without any log nothing is known
            self.kept, self.left = [], self.own
        for note in (*self.own, *self.kept):
            report.num_signatures += 1
            is_kept = any(note is kept for kept in self.kept)
            elsewhere = "; or it was changed where it was kept" if is_kept else ""
            if report.vault and note.vault != report.vault:
                found(TAMPERED, note.last_seq, f"seq {note.last_seq}: a tree head belongs to another vault{elsewhere}")
            elif self.signatures.is_asked(note.last_seq, is_kept) and not self._is_ours(note):
                told = f"seq {note.last_seq}: a tree head is not signed by a key of the vault{elsewhere}"
                found(TAMPERED, note.last_seq, told)
        for note in filter(self._is_ours, self.left if not self.reading.is_excerpt else ()):
            found(TAMPERED, report.seq + 1, f"the log ends at seq {report.seq}; a tree head signed {note.last_seq}")

    def _is_ours(self, note: TreeNote) -> bool:
        return any(note.is_signed_by(unwrap(key)) for key in self.signatures.keys_at(note.last_seq))


def hash_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("sha256:"))
    except ValueError:
        return b""


class Verifier:
    """Feeds on lines in order and puts each before every check."""

    def __init__(
        self,
        *,
        is_excerpt: bool = False,
        public_key: str = "",
        expect_head: str = "",
        kept: Iterable[Fields] = (),
        kept_heads: Iterable[TreeNote] = (),
        max_line: int = MAX_LINE_MB << 20,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        self.watch = watch
        self.max_line = max_line
        self.reading = reading = Reading(is_excerpt)
        self.report, self.found = reading.report, reading.found
        self.chain = chain = Chain(reading)
        self.segments = Segments(reading)
        self.redactions = Redactions(reading, self.segments)
        self.signatures = signatures = Signatures(reading, public_key, expect_head, list(kept))
        self.heads = Heads(reading, signatures, list(kept_heads))
        self.meanings: dict[str, tuple[Callable[[Fields], None], ...]] = {
            "genesis": (chain.on_genesis, signatures.learn),
            "segment": (signatures.learn,),
            "prune": (chain.on_prune, signatures.learn),
            "gap": (chain.on_gap,),
            "key": (partial(signatures.learn, is_new=True),),
            "redaction": (self.redactions.on_redaction,),
        }
        """What the types of records that say something about others mean."""

    def feed_from(self, file: IO[bytes], size: int = sys.maxsize, take: Callable[[bytes], None] | None = None) -> None:
        """Take every line within `size`. What does not begin as a record does, or is too long for one, is not held."""
        take, left = take or self.feed, size
        while left > 0 and (line := file.readline(min(left, PIECE))):
            is_cut = len(line) == PIECE and not line.endswith(b"\n")
            if is_cut and line.startswith(_BEGINNING):
                line += file.readline(min(left, self.max_line) - PIECE)
            left -= len(line)
            if is_cut and (not line.startswith(_BEGINNING) or (len(line) >= self.max_line and line[-1:] != b"\n")):
                left -= self._pass_over(line, file, left)
            else:
                take(line)

    def _pass_over(self, line: bytes, file: IO[bytes], left: int) -> int:
        """The rest of a line that is not held, piece by piece; returns how long that was."""
        is_record, passed = line.startswith(_BEGINNING), 0
        while True:
            self._count(line)
            if not is_record:
                self.chain.add_junk(line)
            if line.endswith(b"\n") or not (line := file.readline(min(left - passed, PIECE))):
                break
            passed += len(line)
        if is_record:
            mib, seq = self.max_line >> 20, self.report.seq + 1
            message = f"seq {seq}: a line of more than {mib} MiB was not read; `--max-line-mb` raises the limit"
            self.found(UNREADABLE, seq, message)
            self.report.seq, self.report.hash, self.chain.is_broken = seq, "", True
        return passed

    def _count(self, piece: bytes) -> None:
        self.reading.file.lines += piece.endswith(b"\n")
        self.reading.file.sha.update(piece)

    def feed(self, line: bytes) -> None:
        """Take the next line, newline included where it has one."""
        self._count(line)
        fields = parse(line.removesuffix(b"\n"))
        if fields is None:
            self.chain.add_junk(line)
            return
        try:
            check_form(fields, line.removesuffix(b"\n"))
            self._check(fields)
        except Bad as reason:
            self.found(TAMPERED, self.report.seq + 1, f"seq {self.report.seq + 1}: {reason}")
        self.reading.advance(fields)
        self.chain.is_broken = False
        self.signatures.match()
        self.heads.match()
        if self.watch is not None and self.report.num_records % WATCHED == 0:
            self.watch(self.report.num_records)
        if not line.endswith(b"\n"):
            self.found(CRASH, self.report.seq, "the last line lacks its newline")

    def _check(self, fields: Fields) -> None:
        self.chain.check(fields)
        check_hash(fields)
        check_content(fields, self.reading.is_excerpt)
        self.redactions.check(fields)
        self.segments.check(fields)
        for check in self.meanings.get(fields["type"], ()):
            check(fields)

    def finish(self) -> Report:
        """What can be said only when everything has been read."""
        self.redactions.finish()
        self.segments.finish()
        self.chain.finish(self.signatures.signed_seq)
        self.heads.finish()
        self.signatures.finish()
        return self.report


def _dicts(value: object) -> list[Fields]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _later(stub: object, seq: int) -> bool:
    record = stub.get("record") if isinstance(stub, dict) else None
    return type(record) is int and record > seq


# --- files -----------------------------------------------------------------------------------------------------------


def open_plain(path: Path) -> int:
    """A descriptor of a regular file, never of a link, a pipe or a device. Raises OSError."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(None, "it is no regular file")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    with os.fdopen(open_plain(path), "rb", PIECE) as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as plain, io.BufferedReader(plain, PIECE) as buffered:
            yield buffered


def log_files(directory: Path) -> list[Path]:
    """The segments in order, the active one last; of two forms of one the uncompressed."""
    found: dict[int, Path] = {}
    for path in sorted(directory.iterdir(), reverse=True):
        match = _SEALED.fullmatch(path.name)
        if match and match[1] == f"{int(match[1]):012d}":
            found[int(match[1])] = path
    active = directory / ACTIVE
    return [found[seq] for seq in sorted(found)] + ([active] if os.path.lexists(active) else [])


def own_checkpoints(path: Path, report: Callable[[int, int, str], None]) -> Iterator[Fields]:
    """The vault's own checkpoints, those that were there when this was called."""
    try:
        fd = open_plain(path)
    except FileNotFoundError:
        return iter(())
    return _own_checkpoints(path.name, fd, os.fstat(fd).st_size, report)


def _own_checkpoints(name: str, fd: int, size: int, report: Callable[[int, int, str], None]) -> Iterator[Fields]:
    with os.fdopen(fd, "rb") as file:
        last, left = 0, size
        while left > 0 and (line := file.readline(min(left, PIECE))):
            left -= len(line)
            fields = parse(line.strip())
            seq = fields.get("seq") if fields else None
            if fields is None or type(seq) is not int or not can_spell(fields):
                severity = TAMPERED if line.endswith(b"\n") else CRASH
                report(severity, last + 1, f"{name}: a line is no checkpoint")
            elif seq < last:
                report(TAMPERED, seq, f"{name}: the checkpoints are not in order")
            else:
                last = seq
                yield fields


def can_spell(fields: Fields) -> bool:
    try:
        return bool(canonical(fields))
    except (ValueError, RecursionError):
        return False


def check_log(verifier: Verifier, directory: Path) -> None:
    with ExitStack() as stack:
        with locked(directory / "log.lock"):
            paths = log_files(directory)
            active = None
            if paths and paths[-1].name == ACTIVE:
                active = stack.enter_context(opened(paths[-1]))
            size = os.fstat(active.fileno()).st_size if active else 0
            # what is signed after this moment is about records after it
            verifier.signatures.add_own(own_checkpoints(directory / "checkpoints.jsonl", verifier.found))
            verifier.heads.begin(own_heads(directory / HEADS, verifier.found), partial(stored_tree, directory / TREE))
        if not paths:
            verifier.found(UNREADABLE, 0, f"{directory} holds no log")
        for path in paths:
            is_last = path is paths[-1]
            verifier.segments.begin_file(path.name.removesuffix(".gz"))
            check_segment(verifier, path, active if is_last else None, size)
            verifier.chain.end_file(is_last)
            check_twin(verifier, path)


def own_heads(path: Path, report: Callable[[int, int, str], None]) -> list[TreeNote]:
    """The tree heads that the vault has signed, with the cosignatures that it has been given."""
    found: dict[tuple[str, int], TreeNote] = {}
    try:
        with os.fdopen(open_plain(path), "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines[:-1]:
        fields = parse(line) or {}
        note = parse_note(str(fields.get("note"))) if fields.get("type") == "head" else None
        place = (str(fields.get("origin")), fields["size"] if type(fields.get("size")) is int else -1)
        if note is not None and note.base and (note.origin, note.size) == place:
            found[place] = note
        elif fields.get("type") == "cosignature" and (cosigned := _cosigned(found.get(place), fields)) is not None:
            found[place] = cosigned
        elif fields.get("type") == "timestamp" and place in found:
            stamps = (*found[place].timestamps, unbase64(fields.get("response")))
            found[place] = replace(found[place], timestamps=stamps)
        else:
            report(TAMPERED, 0, f"{path.name}: a line is no tree head and nothing about one")
    return list(found.values())


def _cosigned(note: TreeNote | None, fields: Fields) -> TreeNote | None:
    """A head with a signature that was given later; None where it is none."""
    signed = None if note is None else parse_note(f"{note.text}\n{fields.get('line')}")
    if note is None or signed is None:
        return None
    return replace(note, signatures=(*note.signatures, *signed.signatures))


def stored_tree(path: Path, base: int, size: int) -> Merkle | None:
    """The first `size` leaves of the tree that begins at record `base`, as the vault's file has it."""
    peaks, start = [], 0
    with suppress(OSError), os.fdopen(open_plain(path), "rb") as file:
        if file.read(32) != b"minivault-tree-1" + base.to_bytes(8, "big") + bytes(8):
            return None
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                start += 1 << level
                file.seek(32 * (1 + 2 * (start - 1) - bin(start - 1).count("1") + level))
                peaks.append((1 << level, file.read(32)))
        return Merkle(peaks) if all(len(node) == 32 for _, node in peaks) else None
    return None


def check_segment(verifier: Verifier, path: Path, file: IO[bytes] | None, size: int) -> None:
    """Feed one segment; of the active one only what was there at the start."""
    try:
        if file is not None:
            verifier.feed_from(file, size)
            return
        with opened(path) as plain:
            verifier.feed_from(plain)
    except FileNotFoundError:
        other = path.with_name(path.name + ".gz")
        if path.suffix == ".gz" or not other.exists():
            verifier.found(UNREADABLE, verifier.report.seq + 1, f"{path.name} was removed meanwhile")
        else:  # compressed while the log was being read
            check_segment(verifier, other, None, 0)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        verifier.found(TAMPERED, verifier.report.seq + 1, f"{path.name} is damaged: {error}")
    except OSError as error:
        verifier.found(UNREADABLE, verifier.report.seq + 1, f"{path.name}: {error.strerror or error}")


def check_twin(verifier: Verifier, path: Path) -> None:
    """A crash may leave both forms of a segment; the one that is not read must then be the same."""
    twin = path.with_name(path.name + ".gz")
    if path.suffix == ".gz" or not os.path.lexists(twin):
        return
    sha, is_read = hashlib.sha256(), True
    try:
        with opened(twin) as file:
            while block := file.read(PIECE):
                sha.update(block)
    except FileNotFoundError:
        return
    except (OSError, EOFError, zlib.error):
        is_read = False
    if not is_read or sha.digest() != verifier.reading.file.sha.digest():
        verifier.found(TAMPERED, verifier.report.seq, f"{twin.name} is not what {path.name} beside it is")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold off the writers where there is a lock to hold; a copy of a log needs none. Yields whether it is held."""
    fd = -1
    with suppress(OSError):
        fd = open_plain(path)
    try:
        yield fd >= 0 and _lock(fd)
    finally:
        if fd >= 0:
            os.close(fd)


def _lock(fd: int) -> bool:
    """Wait for a lock, but not for ever: whoever holds it may be stopped."""
    until = time.monotonic() + LOCK_WAIT_S
    while fcntl is not None:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        if time.monotonic() > until:
            break
        time.sleep(0.01)
    return False


def check_journal(verifier: Verifier, directory: Path) -> None:
    """Interactions that a killed process left open: they will be recorded when the vault is next opened."""
    try:
        paths = sorted((directory / "journal").glob("*.jsonl"))
    except OSError:
        return
    for path in paths:
        with suppress(OSError):
            fd = open_plain(path)
            is_left = os.fstat(fd).st_size and not _is_held(fd)
            os.close(fd)
            if is_left:
                name = f"journal/{path.name}"
                verifier.found(CRASH, verifier.report.seq + 1, f"{name} is left from a killed process: run `recover`")


def _is_held(fd: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


# --- receipts --------------------------------------------------------------------------------------------------------


def receipts_in(text: str) -> list[Fields]:
    """Every receipt in a text: alone, as a header, in whole or streamed replies, as they came or laid out by a tool.

    Raises Misused for what has one and cannot be read.
    """
    plain = text.strip()
    listed = parse_given(f'{{"all":{plain}}}') if plain.startswith("[") else None
    whole = [listed["all"]] if listed is not None else [[fields]] if (fields := parse_given(plain)) is not None else []
    found = [receipt for values in whole for one in _dicts(values) for receipt in _receipts_of(one)]
    for number, piece in _pieces(text) if not whole else ():
        fields = parse_given(piece)
        if fields is None and _RECEIPT.search(piece):
            raise Misused(f"line {number}: a receipt that cannot be read: it is no JSON, or names a member twice")
        found += _receipts_of(fields or {})
    return found


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """What may be a JSON object, in the rest of a line or from a line `{` to its `}`, with the number of its line."""
    block, begun = [""], 0
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.rstrip("\r ,")
        if bare.strip() == "{" and block[0] in ("", bare):
            if begun:
                yield begun, "\n".join(block)
            block, begun = [bare], number
        elif begun and bare == block[0].replace("{", "}"):
            yield begun, "\n".join([*block, bare])
            block, begun = [""], 0
        elif begun:
            block.append(line)
        elif "{" in bare:
            yield number, bare[bare.index("{") :]
    if begun:
        yield begun, "\n".join(block)


def _receipts_of(fields: Fields) -> list[Fields]:
    if fields.get("type") == "receipt":
        return [fields]
    single = fields.get("receipt")
    return _dicts([single]) + _dicts(fields.get("receipts"))


def sound_receipts(path: Path, text: str) -> list[Fields]:
    """The receipts of a file in the order of their seqs, each once and of a form that can be checked."""
    found: dict[str, Fields] = {}
    try:
        for number, fields in enumerate(receipts_in(text), 1):
            if wrong := _wrong_member(fields):
                raise Misused(f"receipt {number}: {wrong}")
            found[canonical(fields)] = fields
    except Misused as error:
        raise Misused(f"{path}: {error}") from None
    if not found:
        raise Misused(f"{path}: it holds no receipt; keep the member `receipt` of a reply, or the whole reply")
    return sorted(found.values(), key=lambda fields: int(fields["seq"]))


def _wrong_member(fields: Fields) -> str:
    """Which member of a receipt has no form that can be checked; empty where all have."""
    expected = {"type": "`receipt`", "v": "1 or 2", "seq": "a whole number above 0"}
    seq = fields.get("seq")
    fits = {
        "type": fields.get("type") == "receipt",
        "v": type(fields.get("v")) is int and fields["v"] in (1, 2),
        "seq": type(seq) is int and 0 < seq < 1 << 62,
        **{name: isinstance(fields.get(name), str) for name in SPELLED},
    }
    name = next((name for name, is_right in fits.items() if not is_right), "")
    if not name:
        return "" if can_spell(fields) else "it holds a value that no receipt holds"
    said = f"is {str(fields[name])[:40]!r}" if name in fields else "is missing"
    return f"`{name}` {said} and not {expected.get(name, 'a text')}"


def differ(one: Fields, other: Fields) -> bool:
    """Whether two receipts, or one and a record, tell of different records."""
    both = one.keys() & other.keys()
    return any(one.get(name) != other.get(name) for name in PLACED if name not in TIMES or name in both)


def check_receipts(receipts: list[Fields], public_key: str, found: Callable[[int, int, str], None]) -> None:
    """Each is what its key signed, that key is the one to trust, and no two tell different stories."""
    by_seq: dict[tuple[Any, int], Fields] = {}
    for receipt in receipts:
        seq = receipt["seq"]
        if not is_signature(receipt, "receipt"):
            why = "; what rounds large numbers, as JavaScript does, changes its `time_ns`" if receipt["v"] == 1 else ""
            found(TAMPERED, seq, f"seq {seq}: the signature of a receipt is not valid{why}")
        elif public_key and receipt["key"] != public_key:
            found(TAMPERED, seq, f"seq {seq}: a receipt is signed by another key than the one to trust")
        vault = receipt.get("vault")
        other = by_seq.setdefault((vault, seq), receipt)
        if differ(receipt, other):
            found(TAMPERED, seq, f"seq {seq}: two receipts tell of different records in this place")
        before = by_seq.get((vault, seq - 1))
        if before is not None and before["hash"] != receipt.get("prev"):
            found(
                TAMPERED, seq, f"seq {seq}: it follows another record than the one that seq {seq - 1} has a receipt of"
            )


def holds_receipts(path: Path) -> bool:
    """Whether a file is no excerpt and has receipts in it."""
    with suppress(OSError, Misused):
        with os.fdopen(open_plain(path), "rb") as file:
            is_excerpt = file.read(16).startswith(b'{"type":"export"')
        text = "" if is_excerpt else read_argument(path, "receipts")
        try:
            return bool(receipts_in(text))
        except Misused:
            return True
    return False


def verify_receipts(
    path: Path,
    *,
    vault: Path | None = None,
    public_key: str | None = None,
    ask: Callable[[Verifier, list[Fields]], None] | None = None,
) -> Report:
    """Check the receipts in a file by themselves, and against a vault's directory where one is given; else against what
    `ask` knows, if anything.

    Raises Misused for arguments that do not fit.
    """
    receipts = sound_receipts(path, read_argument(path, "receipts"))
    pinned = "" if public_key is None else public_key_of(public_key)
    verifier = Verifier(public_key=pinned, kept=receipts if vault is not None else [])
    report = verifier.report
    report.num_receipts = report.num_signatures = len(receipts)
    check_receipts(receipts, pinned if vault is None else "", verifier.found)  # a vault tells whose keys are its own
    told = sorted({receipt["key"] for receipt in receipts if isinstance(receipt.get("key"), str)})
    if vault is not None and report.exit_code == INTACT:
        if not vault.is_dir():
            raise Misused(f"--vault {vault}: it is no directory")
        return run(verifier, check_log, vault)
    if ask is not None and vault is None and report.exit_code == INTACT:
        report.num_kept = len(receipts)
        ask(verifier, receipts)
    elif vault is None:
        report.unproven.append("that the vault still holds these records: --vault or --url compares")
    report.vault, report.public_key = str(receipts[0].get("vault")), ", ".join(told)
    return report


# --- the arguments ---------------------------------------------------------------------------------------------------


def read_argument(path: Path, name: str) -> str:
    """A small text file that was named on the command line."""
    try:
        with os.fdopen(open_plain(path), "rb") as file:
            data = file.read(MAX_ARGUMENT + 1)
    except OSError as error:
        raise Misused(f"{name} {path}: {error.strerror or error}") from None
    if len(data) > MAX_ARGUMENT:
        raise Misused(f"{name} {path}: larger than {MAX_ARGUMENT >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Misused(f"{name} {path}: it is no text") from None


def said_lines(text: str) -> list[tuple[int, str]]:
    """The lines with something on them, numbered; `#` begins a comment."""
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def public_key_of(text: str) -> str:
    """The one public key in the text of a `vault.pub`."""
    lines = [line for _, line in said_lines(text)]
    if len(lines) != 1 or len(unwrap(lines[0])) != 32:
        raise Misused("--pubkey: not one line `ed25519:…`, which is what vault.pub holds")
    return lines[0]


def head_of(text: str) -> str:
    """The hash that was noted, as records spell it."""
    match = re.fullmatch(r"(?:\d+\s+)?(?:sha256:)?([0-9a-f]{64})", text.strip().lower())
    if match is None:
        raise Misused(f"--expect-head {text[:100]!r}: not a head; it is `sha256:` and 64 hex digits, see `vault head`")
    return f"sha256:{match[1]}"


def kept_checkpoints(text: str) -> list[Fields]:
    """Checkpoints as `vault checkpoint` prints them, in the order of their seqs; each signed by the key it names."""
    kept = []
    for number, line in said_lines(_NOTES.sub("", text)):
        fields = parse_given(line)
        if fields is None or type(fields.get("seq")) is not int or not can_spell(fields):
            raise Misused(
                f"--checkpoint: line {number} is no checkpoint; keep what `vault checkpoint` or `head --tree` prints"
            )
        if not is_signature(fields, "checkpoint"):
            raise Misused(f"--checkpoint: line {number} is not what was signed; it was changed where it was kept")
        kept.append(fields)
    if not kept and not parse_notes(text):
        raise Misused("--checkpoint: it holds no checkpoint")
    return sorted(kept, key=lambda fields: int(fields["seq"]))


def kept_heads(text: str) -> list[TreeNote]:
    """Tree heads as `vault head --tree` prints them, wherever they stand in a file. Raises Misused."""
    notes = parse_notes(text)
    for note in notes:
        if not note.base or not note.size:
            raise Misused(f"--checkpoint: {note.origin!r} of size {note.size} is no tree head of a vault with records")
    return notes


def prepared(
    path: Path,
    *,
    expect_head: str | None,
    checkpoint: Path | None,
    public_key: str | None,
    max_line_mb: int,
    watch: Callable[[int], None] | None,
) -> Callable[[], Verifier]:
    """Makes verifiers of what is at `path`. Raises Misused for arguments that do not fit."""
    if not os.path.exists(path):  # noqa: PTH110 - it raises nothing
        raise Misused(f"{path} does not exist")
    if max_line_mb < 1:
        raise Misused("--max-line-mb: at least 1")
    kept = "" if checkpoint is None else read_argument(checkpoint, "--checkpoint").replace("\r\n", "\n")
    return partial(
        Verifier,
        is_excerpt=not path.is_dir(),
        public_key="" if public_key is None else public_key_of(public_key),
        expect_head="" if expect_head is None else head_of(expect_head),
        kept=kept_checkpoints(kept) if checkpoint is not None else [],
        kept_heads=kept_heads(kept),
        max_line=max_line_mb << 20,
        watch=watch,
    )


def verify(
    path: Path,
    *,
    expect_head: str | None = None,
    checkpoint: Path | None = None,
    public_key: str | None = None,
    max_line_mb: int = MAX_LINE_MB,
    watch: Callable[[int], None] | None = None,
) -> Report:
    """Check a vault's directory; `public_key` is the text of a `vault.pub`. `watch` is told now and then how many
    records have been checked.

    Raises Misused for arguments that do not fit, and nothing for what it reads: the report says it all.
    """
    new = prepared(
        path,
        expect_head=expect_head,
        checkpoint=checkpoint,
        public_key=public_key,
        max_line_mb=max_line_mb,
        watch=watch,
    )
    if not path.is_dir():
        raise Misused(f"{path} is no directory and holds no receipts; excerpts and proofs are checked by evidence.py")
    verifier = check_vault(new, path)
    if count := sum(len(note.timestamps) for note in verifier.heads.own):
        verifier.report.unproven.append(f"what the {count} timestamps of its tree heads say: evidence.py reads them")
    return verifier.report


def check_vault(new: Callable[[], Verifier], directory: Path) -> Verifier:
    """Check a vault's directory, and once more if a redaction or a prune came between."""
    verifier, before = new(), _segments_there(directory)
    if run(verifier, check_log, directory).exit_code != INTACT and before != _segments_there(directory):
        with locked(directory / "maintenance.lock"):  # while none can come between
            run(verifier := new(), check_log, directory)
    return verifier


def run(verifier: Verifier, check: Callable[[Verifier, Path], None], path: Path) -> Report:
    """Put everything at `path` before the verifier."""
    try:
        check(verifier, path)
    except (OSError, EOFError, zlib.error) as error:
        verifier.found(UNREADABLE, verifier.report.seq + 1, f"{path}: {error}")
    if not verifier.reading.is_excerpt:
        check_journal(verifier, path)
    return verifier.finish()


def _segments_there(directory: Path) -> list[tuple[str, int, int]]:
    """The files of the log and which files those are; a rewritten one is another."""
    there = []
    with suppress(OSError):
        for path in log_files(directory):
            there.append((path.name, path.stat().st_ino, path.stat().st_ctime_ns if path.name != ACTIVE else 0))
    return there


def describe(report: Report) -> str:
    """The report as lines for a person."""
    lines = [f"{finding.file or '-'}: {finding.message}" for finding in report.findings]
    if report.num_findings > len(report.findings):
        lines.append(f"… and {report.num_findings - len(report.findings)} more")
    lines += [f"{note.kind}: {note.message}" for note in report.notes]
    if len(report.notes) == MAX_FINDINGS:
        lines.append("… only the first prunes, gaps and redactions are named")
    span = f"seq {report.first_seq} to {report.seq}" if report.num_records else "no records"
    read = f"{report.num_records} records, {span}, {report.num_segments} files"
    if report.num_receipts:
        read = f"{report.num_receipts} receipts" + (f"; {read}" if report.num_records else "")
    lines.append(f"vault {report.vault or '?'}: {read}")
    whose = "" if report.is_key_pinned or not report.public_key else " (as it says itself; --pubkey pins it)"
    lines.append(f"{report.num_signatures} signatures checked, by {report.public_key or 'no key'}{whose}")
    if report.num_kept:
        what = "receipts" if report.num_receipts else "kept checkpoints"
        lines.append(f"{report.num_compared} of {report.num_kept} {what} compared")
    if report.num_redacted or report.num_withheld:
        lines.append(f"{report.num_redacted} redacted, {report.num_withheld} shown without their content")
    if report.num_heads:
        lines.append(f"{report.num_heads} tree heads compared")
    if report.num_prunes or report.num_gaps:
        lines.append(f"{report.num_prunes} prunes, {report.num_gaps} gaps")
    if report.expected_head_seq is not None:
        lines.append(f"the expected head is seq {report.expected_head_seq}")
    lines += [f"not proven: {claim}" for claim in report.unproven]
    if not report.num_receipts or report.num_records:
        lines.append(f"head {report.seq} {report.hash}")
    bad = f", first bad seq {report.first_bad_seq}" if report.first_bad_seq is not None else ""
    lines.append(VERDICTS[report.exit_code] + bad)
    printable = (re.sub(r"[^\x20-\x7e…]", "?", line) for line in lines)
    return "\n".join(printable)


def as_json(report: Report) -> str:
    return json.dumps({**asdict(report), "first_bad_seq": report.first_bad_seq, "verdict": VERDICTS[report.exit_code]})


class Parser(argparse.ArgumentParser):
    """The options that every way to check has."""

    def __init__(self, prog: str, told: str, path: str) -> None:
        super().__init__(prog=prog, description=told.partition("\n")[0])
        self.add_argument("path", type=Path, help=path)
        self.add_argument("--expect-head", metavar="HASH", help="a head noted earlier; it must be in the log")
        self.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoints kept elsewhere")
        self.add_argument(
            "--pubkey", type=Path, metavar="FILE", help="the only key to trust (`vault.pub`, kept elsewhere)"
        )
        self.add_argument(
            "--max-line-mb", type=int, default=MAX_LINE_MB, metavar="N", help="longest line to read whole"
        )
        self.add_argument("--vault", type=Path, metavar="DIR", help="compare receipts with this vault")
        self.add_argument("--json", action="store_true", help="print the report as JSON")

    def error(self, message: str) -> NoReturn:
        """End with a status that is no verdict."""
        self.print_usage(sys.stderr)
        self.exit(MISUSED, f"{self.prog}: error: {message}\n")

    def tell(self, check: Callable[[str | None], Report], given: argparse.Namespace) -> int:
        """Check with the text of the key to trust, print what was found, and return the exit status."""
        try:
            report = check(None if given.pubkey is None else read_argument(given.pubkey, "--pubkey"))
        except Misused as error:
            print(f"{self.prog}: error: {error}", file=sys.stderr)
            return MISUSED
        print(as_json(report) if given.json else describe(report))
        return report.exit_code


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = Parser("verify.py", __doc__ or "", "a vault's directory, or a file with receipts")
    given = parser.parse_args(arguments)

    def check(public_key: str | None) -> Report:
        if given.vault is not None or holds_receipts(given.path):
            return verify_receipts(given.path, vault=given.vault, public_key=public_key)
        return verify(
            given.path,
            expect_head=given.expect_head,
            checkpoint=given.checkpoint,
            public_key=public_key,
            max_line_mb=given.max_line_mb,
        )

    return parser.tell(check, given)


if __name__ == "__main__":
    sys.exit(main())
