#!/usr/bin/env python3
"""Check a MiniVault log, or an excerpt exported from one, without MiniVault: `python verify.py PATH [options]`.

This file is the auditor's: it uses the Python standard library only, imports nothing of the program that wrote the log,
and re-implements the format of docs/vault.md from its text. That is also why it is one file and longer than others. It
reads each line once, holds one at a time, and writes nothing.

Exit status: 0 intact; 1 intact, with traces of a crash; 2 changed since it was written (the first bad seq is named);
3 something could not be read.
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
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

fcntl: Any = None
with suppress(ImportError):  # an auditor's machine need not be Linux
    import fcntl

INTACT, CRASH, TAMPERED, UNREADABLE = 0, 1, 2, 3
VERDICTS = {
    INTACT: "intact",
    CRASH: "intact, with traces of a crash",
    TAMPERED: "TAMPERED",
    UNREADABLE: "UNREADABLE",
}
NO_HASH = "sha256:" + "0" * 64
ACTIVE = "log.jsonl"
CONTENT = ("prompt", "response", "request", "rendered_prompt", "prompt_tokens", "completion_tokens", "client")
CONTENT_KEYS = frozenset((*CONTENT, "user_agent"))
UNCHAINED_KEYS = CONTENT_KEYS | {"salt", "redacted", "withheld", "hash"}
MAX_LINE = 512 << 20
MAX_FINDINGS = 50

Fields = dict[str, Any]
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().decode
_SEALED = re.compile(r"log-(\d{12,})\.jsonl(\.gz)?")


class Bad(Exception):
    """A line that is not what the log's writer would have written; the message says why."""


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse(line: bytes) -> Fields | None:
    """The JSON object of a line; None where there is none."""
    try:
        fields = _decode(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


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


# --- one record ------------------------------------------------------------------------------------------------------


def check_form(fields: Fields, line: bytes) -> None:
    """Its spelling and types: a space or a doubled key is a change too, though the values hash the same."""
    try:
        spelled = _compact(fields).encode("ascii")
    except (ValueError, RecursionError):
        raise Bad("it holds a value no record can hold") from None
    if spelled != line:
        raise Bad("it is not spelled as the log's writer spells")
    for key, type_ in (("type", str), ("seq", int), ("time_ns", int), ("prev", str), ("hash", str)):
        if type(fields.get(key)) is not type_:
            raise Bad(f"`{key}` is missing or of another type")
    if fields.get("v") != 1:
        raise Bad(f"it has format version {fields.get('v')!r}; this verifier knows version 1")


def check_hash(fields: Fields) -> None:
    chained = {key: value for key, value in fields.items() if key not in UNCHAINED_KEYS}
    if digest(_canonical(chained).encode("ascii")) != fields["hash"]:
        raise Bad("its hash is not that of its fields")


def check_content(fields: Fields, is_excerpt: bool) -> None:
    """The content against its commitment, or its lawful absence."""
    content = {key: fields[key] for key in fields if key in CONTENT_KEYS}
    absent = [key for key in ("redacted", "withheld") if key in fields]
    if "content_sha256" not in fields:
        if content or absent or "salt" in fields:
            raise Bad("it has content that its hash does not cover")
    elif absent:
        if content or "salt" in fields or (absent == ["withheld"] and not is_excerpt) or len(absent) > 1:
            raise Bad(f"it is marked {absent[0]} without cause")
    elif fields["content_sha256"] != digest(_salt(fields) + _canonical(content).encode("ascii")):
        raise Bad("its content has been changed")


def _salt(fields: Fields) -> bytes:
    salt = fields.get("salt")
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
class Report:
    """What was checked and what was found."""

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
    expected_head_seq: int | None = None
    findings: list[Finding] = field(default_factory=list)
    num_findings: int = 0
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

    def found(self, severity: int, seq: int, message: str) -> None:
        self.report.num_findings += 1
        worst = {INTACT: 0, CRASH: 1, UNREADABLE: 2, TAMPERED: 3}
        self.report.exit_code = max(self.report.exit_code, severity, key=lambda code: worst[code])
        if len(self.report.findings) < MAX_FINDINGS:
            self.report.findings.append(Finding(severity, seq, self.file.name, message))

    def advance(self, fields: Fields) -> None:
        """Go on from this record, also from a bad one, so that one change is not reported for every later line."""
        report = self.report
        seq = fields.get("seq")
        report.seq = seq if type(seq) is int and abs(seq) < 1 << 62 else report.seq + 1
        report.hash = str(fields.get("hash"))
        report.first_seq = report.first_seq or report.seq
        report.num_records += 1
        report.num_withheld += "withheld" in fields
        self.file.last_seq = report.seq


class Chain:
    """Each record follows the one before, and bytes that are no record are those that a crash is said to have left."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.junk, self.junk_sha, self.junk_ended = 0, hashlib.sha256(), False
        self.start: tuple[int, str] | None = None

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
        elif fields["prev"] != report.hash:
            raise Bad("it does not follow the record before it")

    def _check_recovered(self, fields: Fields) -> None:
        size, sha = self.take_junk()
        if not size or (size - 1, sha) != (fields.get("torn_bytes"), fields.get("sha256")):
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
        self.junk, self.junk_ended = self.junk + len(line), line.endswith(b"\n")

    def take_junk(self) -> tuple[int, str]:
        """The size and digest of what had gathered, which is accounted for now."""
        size, sha = self.junk, "sha256:" + self.junk_sha.hexdigest()
        self.junk, self.junk_sha, self.junk_ended = 0, hashlib.sha256(), False
        return size, sha

    def end_file(self, is_last: bool) -> None:
        """Account for bytes at the end of a file that are no record."""
        if self.junk:
            severity = CRASH if is_last and not self.reading.is_excerpt else TAMPERED
            seq = self.reading.report.seq + 1
            self.reading.found(severity, seq, f"{self.take_junk()[0]} bytes at its end are no record")

    def on_genesis(self, fields: Fields) -> None:
        if fields["seq"] != 1 and not self.reading.is_excerpt:
            raise Bad("a genesis record stands inside the log")

    def on_prune(self, fields: Fields) -> None:
        """A log may start where a later record says that it was pruned."""
        for segment in _dicts(fields.get("segments")):
            if self.start == (segment.get("last_seq"), segment.get("last_hash")):
                self.start = None

    def finish(self) -> None:
        if self.start is not None:
            first = self.reading.report.first_seq
            self.reading.found(TAMPERED, 1, f"the log starts at seq {first} and no record says that it was pruned")


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
        self.stubs: dict[int, Any] = {}

    def check(self, fields: Fields) -> None:
        if "redacted" in fields:
            self.reading.report.num_redacted += 1
            self.stubs[fields["seq"]] = fields["redacted"]

    def on_redaction(self, fields: Fields) -> None:
        target = fields.get("target_seq")
        stub = self.stubs.pop(target, None) if type(target) is int else None
        expected = {"at": fields.get("timestamp"), "by": fields.get("by"), "reason": fields.get("reason")}
        if stub is not None and stub != {**expected, "record": fields["seq"]}:
            raise Bad(f"it redacts seq {target}, which says otherwise")
        is_here = type(target) is int and self.reading.report.first_seq <= target
        if stub is None and is_here and not self.reading.is_excerpt:
            message = f"seq {fields['seq']}: the redaction of seq {target} was not carried out"
            self.reading.found(CRASH, fields["seq"], message)
        self.segments.redact(fields, is_done=stub is not None)

    def finish(self) -> None:
        for seq, stub in self.stubs.items():
            if not (self.reading.is_excerpt and _later(stub, self.reading.report.seq)):
                self.reading.found(TAMPERED, seq, f"seq {seq}: its content was removed and no redaction is recorded")


class Signatures:
    """Heads that were signed or noted are still in the log, and only its own keys have signed."""

    def __init__(self, reading: Reading, public_key: str, expect_head: str) -> None:
        self.reading = reading
        self.keys = [public_key] if public_key else []
        self.pinned = bool(public_key)
        self.expect_head = expect_head
        self.checkpoints: list[Iterator[Fields]] = []
        self.pending: list[Fields | None] = []

    def learn(self, fields: Fields, is_new: bool = False) -> None:
        """The vault's id and key, where they were not known; with `is_new` the key that follows."""
        vault, key = fields.get("vault"), fields.get("public_key")
        self.reading.report.vault = self.reading.report.vault or str(vault or "")
        if isinstance(key, str) and key and not self.pinned and (is_new or not self.keys) and key not in self.keys:
            self.keys.append(key)

    def add_checkpoints(self, source: Iterator[Fields]) -> None:
        self.checkpoints.append(source)
        self.pending.append(None)

    def match(self) -> None:
        """Compare the record just read with the heads of its place."""
        report = self.reading.report
        if self.expect_head and report.hash == self.expect_head:
            report.expected_head_seq = report.seq
        for index, source in enumerate(self.checkpoints):
            while (checkpoint := self._next(index, source)) is not None and checkpoint["seq"] <= report.seq:
                self.pending[index] = None
                self.check_checkpoint(checkpoint)

    def _next(self, index: int, source: Iterator[Fields]) -> Fields | None:
        if self.pending[index] is None:
            self.pending[index] = next(source, None)
        return self.pending[index]

    def check_checkpoint(self, checkpoint: Fields) -> None:
        """A signed head against the record at its place; earlier places (pruned) by its signature alone."""
        report, found = self.reading.report, self.reading.found
        seq = checkpoint["seq"]
        if seq == report.seq and checkpoint.get("hash") != report.hash:
            found(TAMPERED, seq, f"seq {seq}: it is not the record that was signed")
        if report.vault and checkpoint.get("vault") != report.vault:
            found(TAMPERED, seq, f"seq {seq}: a checkpoint belongs to another vault")
        message = {key: value for key, value in checkpoint.items() if key != "signature"}
        key = checkpoint.get("key")
        if key not in self.keys and (self.pinned or seq >= report.first_seq):
            found(TAMPERED, seq, f"seq {seq}: a checkpoint is signed by another key")
        elif not is_signed(unwrap(key), _canonical(message).encode("ascii"), unwrap(checkpoint.get("signature"))):
            found(TAMPERED, seq, f"seq {seq}: the signature of a checkpoint is not valid")
        report.num_signatures += 1

    def finish(self) -> None:
        report, found = self.reading.report, self.reading.found
        for index, source in enumerate(self.checkpoints):
            while (checkpoint := self._next(index, source)) is not None:
                self.pending[index] = None
                if not self.reading.is_excerpt or checkpoint["seq"] != report.seq:
                    at = checkpoint["seq"]
                    found(TAMPERED, report.seq + 1, f"the log ends at seq {report.seq}; a checkpoint signed {at}")
        if self.expect_head and report.expected_head_seq is None:
            found(TAMPERED, report.seq + 1, f"no record has the expected hash {self.expect_head}")
        report.public_key = self.keys[-1] if self.keys else ""


class Verifier:
    """Feeds on lines in order and puts each before every check."""

    def __init__(self, *, is_excerpt: bool = False, public_key: str = "", expect_head: str = "") -> None:
        self.reading = reading = Reading(is_excerpt)
        self.report, self.found = reading.report, reading.found
        self.chain = chain = Chain(reading)
        self.segments = Segments(reading)
        self.redactions = Redactions(reading, self.segments)
        self.signatures = signatures = Signatures(reading, public_key, expect_head)
        self.meanings: dict[str, tuple[Callable[[Fields], None], ...]] = {
            "genesis": (chain.on_genesis, signatures.learn),
            "segment": (signatures.learn,),
            "prune": (chain.on_prune, signatures.learn),
            "key": (partial(signatures.learn, is_new=True),),
            "redaction": (self.redactions.on_redaction,),
        }
        """What the types of records that say something about others mean."""

    def feed(self, line: bytes) -> None:
        """Take the next line, newline included where it has one."""
        self.reading.file.lines += line.endswith(b"\n")
        self.reading.file.sha.update(line)
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
        self.signatures.match()
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
        for part in (self.chain, self.redactions, self.segments, self.signatures):
            part.finish()
        return self.report


def _dicts(value: object) -> list[Fields]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _later(stub: object, seq: int) -> bool:
    record = stub.get("record") if isinstance(stub, dict) else None
    return type(record) is int and record > seq


# --- files -----------------------------------------------------------------------------------------------------------


def read_lines(file: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.readline, MAX_LINE), b"")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(fd, "rb", 1 << 20) as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as plain, io.BufferedReader(plain, 1 << 20) as buffered:
            yield buffered


def log_files(directory: Path) -> list[Path]:
    """The segments in order, the active one last; of two forms of one the uncompressed."""
    found: dict[int, Path] = {}
    for path in sorted(directory.iterdir(), reverse=True):
        match = _SEALED.fullmatch(path.name)
        if match:
            found[int(match[1])] = path
    active = directory / ACTIVE
    return [found[seq] for seq in sorted(found)] + ([active] if active.exists() else [])


def read_checkpoints(path: Path, report: Callable[[int, int, str], None], size: int | None = None) -> Iterator[Fields]:
    """The checkpoints of a file in order, up to `size` (None: of a whole file that was kept elsewhere)."""
    with opened(path) as file:
        last = 0
        for line in read_lines(file) if size is None else read_bounded(file, size):
            fields = parse(line.strip())
            seq = fields.get("seq") if fields else None
            if fields is None or type(seq) is not int or not _can_spell(fields):
                severity = TAMPERED if size is None or line.endswith(b"\n") else CRASH
                report(severity, last + 1, f"{path.name}: a line is no checkpoint")
            elif seq < last:
                report(TAMPERED, seq, f"{path.name}: the checkpoints are not in order")
            else:
                last = seq
                yield fields


def _can_spell(fields: Fields) -> bool:
    try:
        return bool(_canonical(fields))
    except (ValueError, RecursionError):
        return False


def check_log(verifier: Verifier, directory: Path) -> None:
    with ExitStack() as stack:
        with writers_held(directory):
            paths = log_files(directory)
            has_active = bool(paths) and paths[-1].name == ACTIVE
            size = paths[-1].stat().st_size if has_active else 0
            own = directory / "checkpoints.jsonl"
            if own.exists():  # what is signed after this moment is about records after it
                verifier.signatures.add_checkpoints(read_checkpoints(own, verifier.found, own.stat().st_size))
            active = stack.enter_context(opened(paths[-1])) if has_active else None
        if not paths:
            verifier.found(UNREADABLE, 0, f"{directory} holds no log")
        for path in paths:
            is_last = path is paths[-1]
            verifier.segments.begin_file(path.name.removesuffix(".gz"))
            check_segment(verifier, path, active if is_last else None, size)
            verifier.chain.end_file(is_last)


def check_segment(verifier: Verifier, path: Path, file: IO[bytes] | None, size: int) -> None:
    """Feed one segment; of the active one only what was there at the start."""
    try:
        if file is not None:
            for line in read_bounded(file, size):
                verifier.feed(line)
            return
        with opened(path) as plain:
            for line in read_lines(plain):
                verifier.feed(line)
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


def read_bounded(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The lines within the first `size` bytes: what was there when reading began."""
    left = size
    while left > 0 and (line := file.readline(min(left, MAX_LINE))):
        left -= len(line)
        yield line


@contextmanager
def writers_held(directory: Path) -> Iterator[None]:
    """Hold off the writers for a moment, where there is a lock to hold; a copy of a log needs none."""
    fd = -1
    with suppress(OSError):
        fd = os.open(directory / "log.lock", os.O_RDONLY)
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def check_excerpt(verifier: Verifier, path: Path) -> None:
    """An exported excerpt: a header, the chained part of every record in its range, and a checkpoint over the last."""
    verifier.segments.begin_file(path.name)
    last: Fields | None = None
    with opened(path) as file:
        header = parse(file.readline(MAX_LINE).strip()) or {}
        if header.get("type") != "export":
            verifier.found(UNREADABLE, 0, f"{path.name} is no export of a vault")
            return
        verifier.signatures.learn(header)
        for line in read_lines(file):
            if line.startswith(b'{"type":"checkpoint"'):
                last = parse(line.strip())
            else:
                verifier.feed(line)
    verifier.chain.end_file(is_last=True)
    if last is None or type(last.get("seq")) is not int or not _can_spell(last):
        verifier.found(TAMPERED, verifier.report.seq + 1, "the excerpt does not end in a checkpoint")
        return
    if header.get("from_seq") != verifier.report.first_seq:
        verifier.found(TAMPERED, verifier.report.first_seq, "the excerpt does not start where its header says")
    if last["seq"] != verifier.report.seq:
        verifier.found(TAMPERED, verifier.report.seq + 1, f"its checkpoint is of seq {last['seq']}")
    verifier.signatures.check_checkpoint(last)


def check_journal(verifier: Verifier, directory: Path) -> None:
    """Interactions that a killed process left open: they will be recorded when the vault is next opened."""
    try:
        paths = sorted((directory / "journal").glob("*.jsonl"))
    except OSError:
        return
    for path in paths:
        with suppress(OSError):
            if path.stat().st_size and not _is_held(path):
                name = f"journal/{path.name}"
                verifier.found(CRASH, verifier.report.seq + 1, f"{name} is left from a killed process: run `recover`")


def _is_held(path: Path) -> bool:
    if fcntl is None:
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def verify(path: Path, *, expect_head: str = "", checkpoint: Path | None = None, public_key: str = "") -> Report:
    """Check a vault's directory or an exported file. Raises nothing for what it reads; the report says it all."""
    expect_head = f"sha256:{expect_head}" if re.fullmatch(r"[0-9a-f]{64}", expect_head) else expect_head
    verifier = Verifier(is_excerpt=not path.is_dir(), public_key=public_key, expect_head=expect_head)
    if checkpoint is not None:
        verifier.signatures.add_checkpoints(read_checkpoints(checkpoint, verifier.found))
    try:
        (check_log if path.is_dir() else check_excerpt)(verifier, path)
    except (OSError, EOFError, zlib.error) as error:
        verifier.found(UNREADABLE, verifier.report.seq + 1, f"{path}: {error}")
    if path.is_dir():
        check_journal(verifier, path)
    return verifier.finish()


def describe(report: Report) -> str:
    """The report as lines for a person."""
    lines = [f"{finding.file or '-'}: {finding.message}" for finding in report.findings]
    if report.num_findings > len(report.findings):
        lines.append(f"… and {report.num_findings - len(report.findings)} more")
    span = f"seq {report.first_seq} to {report.seq}" if report.num_records else "no records"
    lines.append(f"vault {report.vault or '?'}: {report.num_records} records, {span}, {report.num_segments} files")
    lines.append(f"{report.num_signatures} signatures checked, by {report.public_key or 'no key'}")
    if report.num_redacted or report.num_withheld:
        lines.append(f"{report.num_redacted} redacted, {report.num_withheld} shown without their content")
    if report.expected_head_seq is not None:
        lines.append(f"the expected head is seq {report.expected_head_seq}")
    lines.append(f"head {report.seq} {report.hash}")
    bad = f", first bad seq {report.first_bad_seq}" if report.first_bad_seq is not None else ""
    lines.append(VERDICTS[report.exit_code] + bad)
    printable = (re.sub(r"[^\x20-\x7e…]", "?", line) for line in lines)
    return "\n".join(printable)


def as_json(report: Report) -> str:
    return json.dumps({**asdict(report), "first_bad_seq": report.first_bad_seq, "verdict": VERDICTS[report.exit_code]})


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="verify.py", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("path", type=Path, help="a vault's directory, or an exported file")
    parser.add_argument("--expect-head", default="", metavar="HASH", help="a head noted earlier; it must be in the log")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoints kept elsewhere")
    parser.add_argument(
        "--pubkey", type=Path, metavar="FILE", help="the only key to trust (`vault.pub`, kept elsewhere)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(arguments)
    try:
        public_key = given.pubkey.read_text("ascii", "replace").strip() if given.pubkey else ""
    except OSError as error:
        print(f"{given.pubkey}: {error.strerror}", file=sys.stderr)
        return UNREADABLE
    report = verify(given.path, expect_head=given.expect_head, checkpoint=given.checkpoint, public_key=public_key)
    print(as_json(report) if given.json else describe(report))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
