#!/usr/bin/env python3
"""Check what was given out of a vault, without MiniVault and without that vault: `python evidence.py FILE [options]`.

An excerpt proves its records by paths to a signed tree head, and a `.tlog-proof` one record; a policy says whose
cosignatures to ask for, timestamps say since when a tree head is there, and a server says what it holds now. For a
vault's directory this is `verify.py` and these. Like that file, which it needs beside it, it uses the standard library
only and is meant to be read by an auditor; exit statuses are the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import quote

if TYPE_CHECKING or __package__:
    from minivault.vault import verify as core
else:  # alone, with verify.py beside it
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        import verify as core
    except ImportError:
        print(f"{Path(__file__).name}: error: it needs verify.py beside it", file=sys.stderr)
        sys.exit(64)

COSIGNER_KEY = 4
"""The type of a witness's signature in a note, with its time."""
PROOF = "c2sp.org/tlog-proof@v1"
_PROOF = re.compile(
    rf"{re.escape(PROOF)}\n(?:extra ([^\n]*)\n)?index (0|[1-9][0-9]{{0,17}})\n((?:[^\n]+\n)*)\n(.+)", re.DOTALL
)


# --- excerpts --------------------------------------------------------------------------------------------------------


class Hashing:
    """A file whose lines are hashed once the next is asked for: the digest is of everything before the last line."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha, self.last = file, hashlib.sha256(), b""
        self.num_lines = 0

    def readline(self, size: int = -1) -> bytes:
        self.sha.update(self.last)
        self.num_lines += self.last.endswith(b"\n")
        self.last = self.file.readline(size)
        return self.last


class Excerpt:
    """An exported excerpt: a header, records whole or withheld, what proves them, a seal over all of it."""

    def __init__(self, verifier: core.Verifier, file: IO[bytes]) -> None:
        self.verifier, self.report, self.found = verifier, verifier.report, verifier.found
        self.file = Hashing(file)
        self.header: core.Fields = {}
        self.checkpoint: core.Fields | None = None
        self.seal: core.Fields | None = None
        self.has_later = False
        self.covered = ("", 0)
        self.note: core.TreeNote | None = None
        self.pending: core.Fields | None = None
        """In format 3 the record whose proof comes next."""
        self.num_whole = 0

    def check(self, name: str) -> None:
        self.header = core.parse(self.file.readline(core.PIECE).removesuffix(b"\n")) or {}
        if self.header.get("type") != "export" or self.header.get("v") not in (1, 2, 3):
            self.found(core.UNREADABLE, 0, f"{name} is no excerpt, proof or vault that this verifier knows")
            return
        self.verifier.signatures.learn(self.header)
        if self.header["v"] == 3:
            self.check_proven()
            return
        self.verifier.feed_from(self.file, take=self.take)  # type: ignore[arg-type]
        self.verifier.chain.end_file(is_last=True)
        if self.checkpoint is None:
            self.found(core.TAMPERED, self.report.seq + 1, "the excerpt does not end in a checkpoint")
            return
        self._check_head(self.checkpoint)
        if self.header["v"] == 1:
            self._name_unproven()
        else:
            self._check_seal()

    def check_proven(self) -> None:
        """Format 3: each record with its path to a signed head of the tree, then the seal."""
        self.note = core.parse_note(str(self.header.get("head")))
        key = self.header.get("public_key")
        if (
            self.note is None
            or self.note.vault != self.header.get("vault")
            or not self.note.is_signed_by(core.unwrap(key))
        ):
            self.found(core.TAMPERED, 0, "its tree head is not signed by the key that it names")
            return
        self._check_key({"key": key})
        self.report.num_signatures += 1
        self.verifier.feed_from(self.file, take=self.take_proven)  # type: ignore[arg-type]
        if self.pending is not None:
            self.found(core.TAMPERED, self.report.seq + 1, "its last record has no proof")
        if self.num_whole != self.header.get("records"):
            self.found(core.TAMPERED, self.report.seq + 1, "it holds another number of records than its header says")
        self._check_seal()

    def take_proven(self, line: bytes) -> None:
        """A record, its proof, and so on; then the seal, and nothing more."""
        fields = core.parse(line.removesuffix(b"\n"))
        if self.seal is not None or fields is None or not core.can_spell(fields):
            self.found(core.TAMPERED, self.report.seq + 1, "a line of it is damaged, or stands after its end")
        elif line.startswith(b'{"type":"seal",') and self.pending is None:
            self.seal, self.covered = fields, ("sha256:" + self.file.sha.hexdigest(), self.file.num_lines)
            if not is_spelled(fields, line):
                self.found(core.TAMPERED, self.report.seq + 1, "its seal is damaged")
        elif self.pending is None:
            self.pending = fields
            self._take_record(fields, line)
        else:
            self._take_path(fields, line)
            self.pending = None

    def _take_record(self, fields: core.Fields, line: bytes) -> None:
        before, seq = (self.report.seq, self.report.hash), fields.get("seq")
        try:
            core.check_form(fields, line.removesuffix(b"\n"))
            core.check_hash(fields)
            core.check_content(fields, is_excerpt=True)
            if self.report.num_records and fields["seq"] <= before[0]:
                raise core.Bad("it is not in the order of the log")
            if self.report.num_records and fields["seq"] == before[0] + 1 and fields["prev"] != before[1]:
                raise core.Bad("it does not follow the record before it")
            self.verifier.redactions.check(fields)
            if fields["type"] == "redaction":
                self.verifier.redactions.on_redaction(fields)
        except core.Bad as reason:
            self.found(core.TAMPERED, seq if type(seq) is int else before[0] + 1, f"seq {seq}: {reason}")
        self.verifier.reading.advance(fields)
        self.num_whole += "withheld" not in fields

    def _take_path(self, fields: core.Fields, line: bytes) -> None:
        seq, path = self.report.seq, fields.get("path")
        nodes = [core.unbase64(node) for node in path] if isinstance(path, list) else []
        is_its = is_spelled(fields, line) and (fields.get("type"), fields.get("seq")) == ("proof", seq)
        note = self.note
        if note is None or not is_its:
            self.found(core.TAMPERED, seq, f"seq {seq}: it has no proof")
        elif not is_included(core.hash_bytes(self.report.hash), seq - note.base, note.size, nodes, note.root):
            self.found(core.TAMPERED, seq, f"seq {seq}: it is not in the tree that was signed")

    def take(self, line: bytes) -> None:
        """A record, until the checkpoint; then the seal, and nothing more."""
        seq = self.report.seq + 1
        if self.seal is not None or (self.checkpoint is not None and not line.startswith(b'{"type":"seal",')):
            self.found(core.TAMPERED, seq, "something stands after its end")
        elif line.startswith((b'{"type":"checkpoint",', b'{"type":"seal",')):
            fields = core.parse(line.removesuffix(b"\n"))
            if fields is None or type(fields.get("seq", 0)) is not int or not is_spelled(fields, line):
                self.found(core.TAMPERED, seq, "its checkpoint or its seal is damaged")
            elif self.checkpoint is None and fields["type"] == "checkpoint" and "seq" in fields:
                self.checkpoint = fields
            elif self.checkpoint is not None:
                self.seal = fields
                self.covered = ("sha256:" + self.file.sha.hexdigest(), self.file.num_lines)
        else:
            self.has_later = self.has_later or b',"v":1,' not in line[:200]
            self.verifier.feed(line)

    def _check_head(self, checkpoint: core.Fields) -> None:
        if self.header.get("from_seq") != self.report.first_seq:
            self.found(core.TAMPERED, self.report.first_seq, "the excerpt does not start where its header says")
        if {checkpoint["seq"], self.header.get("to_seq")} != {self.report.seq}:
            self.found(core.TAMPERED, self.report.seq + 1, f"its checkpoint is of seq {checkpoint['seq']}")
        self._check_key(checkpoint)
        self.verifier.signatures.check_checkpoint(checkpoint)

    def _check_seal(self) -> None:
        if self.seal is None:
            self.found(core.TAMPERED, self.report.seq + 1, "it lacks the seal that covers every line of it")
            return
        said = (self.seal.get("sha256"), self.seal.get("lines"))
        if said != self.covered or self.seal.get("vault") != self.header.get("vault"):
            self.found(core.TAMPERED, self.report.first_seq, "it is not the excerpt that was sealed")
        self._check_key(self.seal)
        if not core.is_signature(self.seal, "seal"):
            self.found(core.TAMPERED, self.report.first_seq, "the signature of its seal is not valid")
        self.report.num_signatures += 1
        first, last = self.report.first_seq, self.report.seq
        others = "other records" if self.note else f"records before seq {first} and after seq {last}"
        self.report.unproven.append(f"what {others} say, and that the exporter chose as the filter says")

    def _check_key(self, signed: core.Fields) -> None:
        signatures = self.verifier.signatures
        if signed.get("key") not in signatures.keys or (signatures.trusted and signed["key"] not in signatures.trusted):
            self.found(core.TAMPERED, self.report.seq, "it is signed by another key than the one to trust")

    def _name_unproven(self) -> None:
        if self.has_later:
            self.found(core.TAMPERED, self.report.first_seq, "an excerpt of format 1 holds records of a later format")
        if self.seal is not None:
            self.found(core.TAMPERED, self.report.seq + 1, "something stands after its end")
        for told in ("filter", "number of records", "time"):
            self.report.unproven.append(f"the {told} of its header, which nothing signs in an excerpt of format 1")
        if self.report.num_withheld:
            told = f"that the {self.report.num_withheld} withheld records were not among the chosen"
            self.report.unproven.append(told)


def is_spelled(fields: core.Fields, line: bytes) -> bool:
    return core.can_spell(fields) and core.compact(fields).encode("ascii") + b"\n" == line


def check_excerpt(verifier: core.Verifier, path: Path) -> None:
    verifier.segments.begin_file(path.name)
    with core.opened(path) as file:
        Excerpt(verifier, file).check(path.name)


# --- proofs -----------------------------------------------------------------------------------------------------------


def is_included(record_hash: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    """Whether a record is leaf `index` of the tree of `size` leaves with that root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, hashlib.sha256(b"\0" + record_hash).digest()
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = core.node_hash(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = core.node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def check_proof(verifier: core.Verifier, text: str, public_key: str, policy: Policy | None = None) -> None:
    """A `.tlog-proof` of one record, which carries the record's chained part as its `extra`."""
    report, found = verifier.report, verifier.found
    match = _PROOF.fullmatch(text)
    note = core.parse_note(match[4]) if match else None
    if match is None or note is None:
        found(core.UNREADABLE, 0, "it is no proof that this verifier knows (c2sp.org/tlog-proof, with a checkpoint)")
        return
    extra, index = core.unbase64(match[1]), int(match[2])
    fields = core.parse(extra)
    report.vault, report.public_key, report.num_signatures = note.vault, public_key, 1
    report.first_seq = report.seq = seq = index + note.base
    if not note.is_signed_by(core.unwrap(public_key)):
        found(core.TAMPERED, seq, "its tree head is not signed by the key to trust")
    if policy is not None and not (policy.knows(note) and policy.is_met(note)):
        found(core.UNREADABLE, seq, "its tree head is not cosigned as the policy asks")
    path = [core.unbase64(line) for line in match[3].split("\n")[:-1]]
    report.hash = core.digest(extra)
    if (
        fields is None
        or fields.get("seq") != seq
        or not core.can_spell(fields)
        or core.canonical(fields).encode() != extra
    ):
        found(core.TAMPERED, seq, "its `extra` is not the chained part of the record it proves")
    elif not is_included(core.hash_bytes(report.hash), index, note.size, path, note.root):
        found(core.TAMPERED, seq, f"seq {seq}: it is not in the tree that was signed")
    else:
        report.num_records = report.num_heads = 1
        told = ", ".join(
            f"{name} {fields[name]}" for name in ("type", "id", "timestamp", "content_sha256") if name in fields
        )
        verifier.reading.note(seq, "record", f"seq {seq}: {told}; in the tree of {note.size} records")


def is_proof(path: Path) -> bool:
    with suppress(OSError), os.fdopen(core.open_plain(path), "rb") as file:
        return file.read(len(PROOF)) == PROOF.encode()
    return False


# --- witnesses --------------------------------------------------------------------------------------------------------


def parse_vkey(text: str) -> tuple[str, int, bytes] | None:
    """The name, the type and the Ed25519 key of a verifier key (C2SP signed-note); None where it is none."""
    name, _, rest = text.strip().partition("+")
    id_, _, data = rest.partition("+")
    raw = core.unbase64(data)
    if len(raw) != 33 or not name or re.search(r"\s", name) or raw[0] not in (core.LOG_KEY, COSIGNER_KEY):
        return None
    return (name, raw[0], raw[1:]) if core.note_key_id(name, raw[0], raw[1:]).hex() == id_ else None


def cosigned_at(note: core.TreeNote, name: str, key: bytes) -> int | None:
    """When a witness says that it saw a head, in seconds since 1970; None where it has not signed it validly."""
    id_ = core.note_key_id(name, COSIGNER_KEY, key)
    for data in (data for signer, data in note.signatures if (signer, data[:4]) == (name, id_)):
        time_s = int.from_bytes(data[4:12], "big")
        message = f"cosignature/v1\ntime {time_s}\n{note.text}".encode()
        if len(data) == 76 and core.is_signed(key, message, data[12:]):
            return time_s
    return None


POLICY_LINES = {
    "log": "`log VKEY [URL]` with an Ed25519 key, each once",
    "witness": "`witness NAME VKEY [URL]` with an Ed25519 cosigner's key, each name and key once",
    "group": "`group NAME any|all|NUMBER MEMBER…` of members that lines before it name, each in one group",
    "quorum": "the one line `quorum NAME`, of a name that a line before it has, or none",
}
"""What the lines of a policy are (c2sp.org/tlog-policy)."""


class Policy:
    """Whom to believe about a log (C2SP tlog-policy): its keys, witnesses, and how many of them must have cosigned."""

    def __init__(self, text: str) -> None:
        self.logs: dict[str, list[bytes]] = {}
        self.witnesses: dict[str, tuple[str, bytes]] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum: str | None = None
        self.taken: set[str] = set()
        keys: set[bytes] = set()
        for number, line in enumerate(text.split("\n"), 1):
            words = re.findall(r"[^ \t\r]+", line)
            if not words or words[0].startswith("#"):
                continue
            read = {"log": self._log, "witness": self._witness, "group": self._group, "quorum": self._quorum}
            if words[0] not in read or not read[words[0]](words[1:], keys):
                wanted = POLICY_LINES.get(words[0], f"one of {', '.join(read)}")
                raise core.Misused(f"--policy: line {number}, {line.strip()[:100]!r}, is not {wanted}")
        if self.quorum is None:
            raise core.Misused("--policy: it has no line `quorum`")

    def _key(self, text: str, type_: int, keys: set[bytes]) -> tuple[str, bytes] | None:
        parsed = parse_vkey(text)
        if parsed is None or parsed[1] != type_ or parsed[2] in keys:
            return None
        keys.add(parsed[2])
        return parsed[0], parsed[2]

    def _log(self, words: list[str], keys: set[bytes]) -> bool:
        key = self._key(words[0], core.LOG_KEY, keys) if len(words) in (1, 2) else None
        if key is not None:
            self.logs.setdefault(key[0], []).append(key[1])
        return key is not None

    def _witness(self, words: list[str], keys: set[bytes]) -> bool:
        key = self._key(words[1], COSIGNER_KEY, keys) if len(words) in (2, 3) and self._is_new(words[0]) else None
        if key is not None:
            self.witnesses[words[0]] = key
        return key is not None

    def _group(self, words: list[str], _keys: set[bytes]) -> bool:
        if len(words) < 3 or not self._is_new(words[0]):
            return False
        name, count, members = words[0], words[1], words[2:]
        least = {"any": 1, "all": len(members)}.get(count, int(count) if re.fullmatch("[1-9][0-9]{0,3}", count) else 0)
        is_known = all(one in self.witnesses or one in self.groups for one in members)
        is_once = len({*members}) == len(members) and self.taken.isdisjoint(members)
        if not (1 <= least <= len(members) and is_known and is_once):
            return False
        self.taken.update(members)
        self.groups[name] = (least, members)
        return True

    def _quorum(self, words: list[str], _keys: set[bytes]) -> bool:
        is_right = len(words) == 1 and self.quorum is None
        if is_right and (words[0] == "none" or words[0] in self.witnesses or words[0] in self.groups):
            self.quorum = words[0]
            return True
        return False

    def _is_new(self, name: str) -> bool:
        return name != "none" and name not in self.witnesses and name not in self.groups

    def knows(self, note: core.TreeNote) -> bool:
        """Whether a log of the policy signed it; a policy without logs leaves that to others."""
        return not self.logs or any(note.is_signed_by(key) for key in self.logs.get(note.origin, ()))

    def is_met(self, note: core.TreeNote) -> bool:
        """Whether enough witnesses have cosigned it."""
        seen = {one for one, (name, key) in self.witnesses.items() if cosigned_at(note, name, key) is not None}
        return self.quorum == "none" or self._has(str(self.quorum), seen)

    def _has(self, name: str, seen: set[str]) -> bool:
        if name in self.witnesses:
            return name in seen
        least, members = self.groups[name]
        return sum(self._has(member, seen) for member in members) >= least


def ask_policy(verifier: core.Verifier, policy: Policy) -> None:
    """The newest head that enough witnesses have seen says how far nobody can rewrite the log unseen."""
    report, heads = verifier.report, verifier.heads
    met = [note for note in (*heads.own, *heads.kept) if policy.knows(note) and policy.is_met(note)]
    if not met:
        verifier.found(core.UNREADABLE, report.seq, "no tree head is cosigned as the policy asks")
        return
    seq = max(note.last_seq for note in met)
    told = f"all records up to seq {seq}: enough witnesses have cosigned their tree"
    verifier.reading.note(seq, "witnessed", told)
    if seq < report.seq:
        report.unproven.append(f"that witnesses have seen what is after seq {seq}")


# --- timestamps -------------------------------------------------------------------------------------------------------


def tell_times(verifier: core.Verifier) -> None:
    """What the timestamps beside the vault's tree heads say."""
    report = verifier.report
    for note, response in ((head, one) for head in verifier.heads.own for one in head.timestamps):
        seq, time_ = note.last_seq, stamped_at(response, note.digest)
        if time_ is None:
            told = f"seq {seq}: a timestamp is not of the tree head that it is kept with"
            verifier.found(core.TAMPERED, seq, told)
        else:
            report.num_timestamps += 1
            time_ = re.sub(r"^(....)(..)(..)(..)(..)(..)(.*)$", r"\1-\2-\3T\4:\5:\6\7", time_)
            told = f"all records up to seq {seq} existed at {time_}, says a timestamp authority"
            verifier.reading.note(seq, "timestamp", told)
    if report.num_timestamps:
        report.unproven.append("who made the timestamps: that takes the authority's certificates")


def stamped_at(response: bytes, imprint: bytes) -> str | None:
    """The time in a timestamp authority's response, `YYYYmmddHHMMSSZ`; None where it is not about that SHA-256.

    Its signature is not checked here: that takes the authority's certificates, and `openssl ts -verify`.
    """
    try:
        token = _der(_der(response)[0])[1]  # TimeStampResp: status, ContentInfo
        signed = _der(_der(_der(token)[1])[0])  # ContentInfo: type, [0] SignedData
        content = _der(signed[2])  # SignedData: version, digestAlgorithms, encapContentInfo
        info = _der(_der(_der(content[1])[0])[0])  # [0] OCTET STRING TSTInfo: version, policy, imprint, serial, time
        return info[4].decode("ascii") if _der(info[2])[1] == imprint else None
    except (IndexError, ValueError):
        return None


def _der(data: bytes) -> list[bytes]:
    """What each element of a DER encoding holds."""
    found, at = [], 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        if at + size > len(data):
            raise ValueError("an element is longer than what it is in")
        found.append(data[at : at + size])
        at += size
    return found


# --- a server ---------------------------------------------------------------------------------------------------------


def ask_server(url: str, api_key: str, verifier: core.Verifier, receipts: list[core.Fields]) -> None:
    """Hold each receipt against what the server at `url` gives now. Raises Misused for what is no access key."""
    if not re.fullmatch("[!-~]*", api_key):
        raise core.Misused("the access key is not one line of ASCII without spaces")
    report = verifier.report
    report.num_compared = sum(_is_compared(url, receipt, api_key, verifier.found) for receipt in receipts)
    report.unproven.append("that the server's vault is whole and agrees with what it says: that takes the vault")


def _is_compared(url: str, receipt: core.Fields, api_key: str, found: Callable[[int, int, str], None]) -> bool:
    """Hold a receipt against what the server gives now, its proof of inclusion too; whether that could be."""
    seq, id_ = receipt["seq"], receipt["id"]
    place = f"{url.rstrip('/')}/receipts/{quote(id_, safe='')}"
    try:
        given = core.parse(_fetched(place, api_key).strip())
        proof = _fetched(f"{place}/proof", api_key).decode("utf-8", "replace")
    except HTTPError as error:
        error.close()
        hint = "; it was pruned or cut, or another key asked" if error.code == 404 else ""
        found(core.UNREADABLE, seq, f"seq {seq}: the server answers {error.code} for record {id_}{hint}")
        return False
    except (HTTPException, OSError, ValueError) as error:
        found(core.UNREADABLE, seq, f"seq {seq}: {url} cannot be asked: {getattr(error, 'reason', error)}")
        return False
    if given is None or not core.can_spell(given) or not core.is_signature(given, "receipt"):
        found(core.UNREADABLE, seq, f"seq {seq}: the server gives no receipt that is signed")
        return False
    if core.differ(given, receipt):
        found(core.TAMPERED, seq, f"seq {seq}: the server now signs another record than it did")
    elif given["key"] != receipt["key"]:
        found(core.UNREADABLE, seq, f"seq {seq}: the server signs with another key now; compare with the vault itself")
    else:
        proven = core.Verifier()
        check_proof(proven, proof, receipt["key"])
        if proven.report.exit_code != core.INTACT or proven.report.hash != receipt["hash"]:
            told = "; ".join(finding.message for finding in proven.report.findings) or "it is of another record"
            found(
                core.TAMPERED, seq, f"seq {seq}: the server's proof that the record is in its log does not hold: {told}"
            )
    return True


def _fetched(url: str, api_key: str) -> bytes:
    from urllib.request import Request, urlopen

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with urlopen(Request(url, headers=headers), timeout=30) as reply:
        data: bytes = reply.read(core.PIECE)
    return data


# --- the command line ------------------------------------------------------------------------------------------------


def verify(
    path: Path,
    *,
    expect_head: str | None = None,
    checkpoint: Path | None = None,
    public_key: str | None = None,
    policy: Path | None = None,
    max_line_mb: int = core.MAX_LINE_MB,
    watch: Callable[[int], None] | None = None,
) -> core.Report:
    """Check a vault's directory, an excerpt or a proof; `public_key` is the text of a `vault.pub`. `watch` is told now
    and then how many records have been checked.

    Raises core.Misused for arguments that do not fit, and nothing for what it reads: the report says it all.
    """
    new = core.prepared(
        path,
        expect_head=expect_head,
        checkpoint=checkpoint,
        public_key=public_key,
        max_line_mb=max_line_mb,
        watch=watch,
    )
    asked = None if policy is None else Policy(core.read_argument(policy, "--policy"))
    if is_proof(path):
        if public_key is None:
            raise core.Misused("--pubkey: a proof is believed by the key that is given with it; a copy of vault.pub")
        verifier = new()
        check_proof(verifier, core.read_argument(path, "proof"), verifier.signatures.keys[0], asked)
        return verifier.report
    if core.holds_receipts(path):
        raise core.Misused(f"{path} holds receipts, which `receipt verify` checks")
    if not path.is_dir():
        return core.run(new(), check_excerpt, path)
    verifier = core.check_vault(new, path)
    tell_times(verifier)
    if asked is not None:
        ask_policy(verifier, asked)
    return verifier.report


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = core.Parser(
        "evidence.py", __doc__ or "", "an exported file, a proof, a file with receipts, or a directory"
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="whose cosignatures to ask for (c2sp.org/tlog-policy)"
    )
    parser.add_argument("--url", default="", help="compare receipts with what this server gives now")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="with --url: holds the access key that asked")
    given = parser.parse_args(arguments)

    def check(public_key: str | None) -> core.Report:
        if given.vault is not None or given.url or core.holds_receipts(given.path):
            key = "" if given.key_file is None else core.read_argument(given.key_file, "--key-file").strip()
            ask = partial(ask_server, given.url, key) if given.url else None
            return core.verify_receipts(given.path, vault=given.vault, public_key=public_key, ask=ask)
        return verify(
            given.path,
            expect_head=given.expect_head,
            checkpoint=given.checkpoint,
            public_key=public_key,
            policy=given.policy,
            max_line_mb=given.max_line_mb,
        )

    return parser.tell(check, given)


if __name__ == "__main__":
    sys.exit(main())
