"""One record as one line: its fields, their order, what is hashed and what may later be redacted.

A line has a chained part, which nothing may ever change, and a content part, which redaction can remove. The chained
part commits to the content through a salted digest, so a redacted line still verifies and its content cannot be
guessed. `CHAINED_KEYS` is that division: what is not known to be the program's own is content, so that nothing a
person or a model wrote is ever chained. The whole format is in docs/vault.md and re-implemented, on purpose, in
`verify.py`, which imports nothing from here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minivault.errors import VaultError
from minivault.moment import rfc3339

VERSION, PARTED = 2, 3
"""The format of a record, and of one of which a part can be redacted apart."""
NO_HASH = "sha256:" + "0" * 64
CHAINED_KEYS = frozenset(
    (
        *("type", "v", "seq", "id", "timestamp", "time_ns", "boot", "prev", "content_sha256"),
        *("status", "finish_reason", "model", "source", "api", "stream", "key", "usage", "timings", "fingerprint"),
        *("sent", "reconstructed", "sync", "pid", "version", "settings_digest", "vault", "public_key", "previous"),
        *("lines", "last_seq", "last_hash", "sha256", "torn_bytes", "since", "since_ns", "until_ns", "refused"),
        *("late", "by", "command", "records", "target_id", "target_seq", "segment", "sha256_before", "sha256_after"),
        *("keep_days", "segments", "parts", "control_text"),
        *("part", "reasoning_sha256"),
    )
)
"""What the program itself says: numbers, digests, ids, names it gave. All else is content, also in types to come. The
last two make a record one of format 3."""
PART = "reasoning"
PART_KEYS = frozenset((PART, "completion_tokens"))
"""What a model thought, and the tokens, which spell that too: committed to apart where there is a thought."""
CONTENT_KEYS_1 = frozenset(
    (
        *("prompt", "response", "request", "rendered_prompt", "prompt_tokens", "completion_tokens"),
        *("client", "user_agent"),
    )
)
"""The content of records of format 1, in which all else was chained."""
MARKS = frozenset(("salt", "redacted", "withheld", "hash"))
PART_MARKS = frozenset(("reasoning_salt", "reasoning_redacted"))
_FIRST = ("prompt", "response")

_ENDS_IN_HASH = re.compile(rb'"hash":"sha256:[0-9a-f]{64}"}\n?$')
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII, no NaN."""
    return _canonical(value).encode("ascii")


def compact(value: Any) -> bytes:
    """JSON in the order given, as a line's own bytes are: no spaces, ASCII, no NaN."""
    return _compact(value).encode("ascii")


def digest(data: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def new_id(time_ns: int | None = None) -> str:
    """A UUID version 7 (RFC 9562 §5.7) whose text sorts by time, finer than a millisecond."""
    milliseconds, rest = divmod(time.time_ns() if time_ns is None else time_ns, 10**6)
    fraction = rest * 4096 // 10**6
    tail = int.from_bytes(os.urandom(8), "big") >> 2
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (fraction << 64) | (2 << 62) | tail))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands in the log. Under `async` it is returned before that is known: seq 0, hash empty."""

    seq: int
    hash: str
    prev: str = field(default="", compare=False)
    """The hash of the record before."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A record that has no place in the chain yet: `fields` in the order of its line, content committed to."""

    type: str
    fields: Mapping[str, Any]


def draft(type_: str, time_ns: int, boot: str, fields: Mapping[str, Any], *, id_: str | None = None) -> Draft:
    """Arrange a record's fields and commit to its content. Raises VaultError for a value JSON cannot hold."""
    content = {key: fields[key] for key in fields if key not in CHAINED_KEYS}
    ordered: dict[str, Any] = {"timestamp": rfc3339(time_ns)}
    ordered |= {key: content[key] for key in _FIRST if key in content}
    ordered["id"] = id_ or new_id(time_ns)
    ordered |= fields
    ordered |= {"time_ns": time_ns, "boot": boot}
    try:
        ordered |= _commitment(content)
        canonical({key: value for key, value in ordered.items() if key not in content})
    except (TypeError, ValueError) as error:
        raise VaultError(f"a {type_} record cannot be written as JSON: {error}") from None
    return Draft(type_, ordered)


def _commitment(content: Mapping[str, Any]) -> dict[str, str]:
    if not content:
        return {}
    if PART not in content:
        return _committed(content, "salt", "content_sha256")
    part = {key: content[key] for key in content if key in PART_KEYS}
    rest = {key: content[key] for key in content if key not in PART_KEYS}
    return _committed(rest, "salt", "content_sha256") | _committed(part, "reasoning_salt", "reasoning_sha256")


def _committed(content: Mapping[str, Any], salt_key: str, digest_key: str) -> dict[str, str]:
    salt = os.urandom(16)
    return {salt_key: salt.hex(), digest_key: digest(salt + canonical(content))}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record in its place: the bytes of its line, newline included."""

    place: Place
    line: bytes


def seal(record: Draft, seq: int, prev: str) -> Sealed:
    """Give a record its place after the line whose hash is `prev`."""
    version = PARTED if "reasoning_sha256" in record.fields or "part" in record.fields else VERSION
    fields = {"type": record.type, "v": version, "seq": seq, **record.fields, "prev": prev}
    fields["hash"] = chain_hash(fields)
    return Sealed(Place(seq, fields["hash"], prev), compact(fields) + b"\n")


def content_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that redaction removes and an excerpt withholds."""
    if fields.get("v") == 1:
        return {key: value for key, value in fields.items() if key in CONTENT_KEYS_1}
    if fields.get("v") == PARTED:
        kept = CHAINED_KEYS | MARKS | PART_MARKS
    else:
        kept = CHAINED_KEYS - {"part", "reasoning_sha256"} | MARKS
    return {key: value for key, value in fields.items() if key not in kept}


def part_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record's content that can be redacted apart."""
    is_parted = fields.get("v") == PARTED and "reasoning_sha256" in fields
    return {key: value for key, value in fields.items() if key in PART_KEYS} if is_parted else {}


def mark_of(part: str | None) -> str:
    """The key of the stub that stands for what was redacted."""
    return "redacted" if part is None else f"{part}_redacted"


def marks_in(fields: Mapping[str, Any]) -> list[str]:
    """The keys of its stubs."""
    marks = [mark_of(None)] + ([mark_of(PART)] if fields.get("v") == PARTED else [])
    return [mark for mark in marks if mark in fields]


def chained(fields: Mapping[str, Any]) -> bytes:
    """The canonical JSON of a record's chained part, which its hash is of."""
    content = content_of(fields)
    marks = MARKS | PART_MARKS if fields.get("v") == PARTED else MARKS
    return canonical({k: value for k, value in fields.items() if k not in content and k not in marks})


def chain_hash(fields: Mapping[str, Any]) -> str:
    """The `hash` a line must carry: SHA-256 over the canonical JSON of its chained part."""
    return digest(chained(fields))


def parse(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, or None where there is none (a fragment left by a crash)."""
    try:
        fields = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def is_record(line: bytes) -> bool:
    """Whether a line is a record and no fragment; its bytes tell, nearly always."""
    return (line.startswith(b'{"type":"') and _ENDS_IN_HASH.search(line[-82:]) is not None) or parse(line) is not None


def is_sound(fields: Mapping[str, Any]) -> bool:
    """Whether a parsed line carries the hash of its own chained part."""
    try:
        return isinstance(fields.get("seq"), int) and fields.get("hash") == chain_hash(fields)
    except (ValueError, RecursionError):
        return False


def is_content_sound(fields: Mapping[str, Any]) -> bool:
    """Whether a record's content is what its chained part commits to, or has been redacted."""
    content, part = content_of(fields), part_of(fields)
    if "withheld" in fields or fields.get("v") not in (1, VERSION, PARTED):
        return False
    if "content_sha256" not in fields or "redacted" in fields:
        has_stub = "redacted" in fields and "content_sha256" in fields
        has_salt = "salt" in fields or (fields.get("v") == PARTED and "reasoning_salt" in fields)
        return not content and not has_salt and has_stub == ("redacted" in fields)
    rest = {key: value for key, value in content.items() if key not in part}
    return _is_committed(rest, fields, "salt", "content_sha256") and _is_part_sound(part, fields)


def _is_part_sound(part: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    if fields.get("v") != PARTED:
        return True
    if "reasoning_sha256" not in fields or "reasoning_redacted" in fields:
        has_stub = "reasoning_redacted" in fields and "reasoning_sha256" in fields
        return not part and "reasoning_salt" not in fields and has_stub == ("reasoning_redacted" in fields)
    return _is_committed(part, fields, "reasoning_salt", "reasoning_sha256")


def _is_committed(content: Mapping[str, Any], fields: Mapping[str, Any], salt_key: str, digest_key: str) -> bool:
    try:
        salt = bytes.fromhex(fields[salt_key])
        is_as_written = salt.hex() == fields[salt_key]  # no other spelling: it is not hashed as text
        return is_as_written and bool(fields[digest_key] == digest(salt + canonical(content)))
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
