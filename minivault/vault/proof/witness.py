"""A witness (C2SP tlog-witness): remembers how far each log had grown and cosigns only what extends that.

It sees sizes and hashes, never a record. Run by somebody else, on another machine or account, it makes sure that a
vault cannot be rewritten or shown differently to two people without that showing.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from minivault.errors import ConfigError, VaultError
from minivault.vault.disk import DIRECTORY_MODE, Disk, open_plain
from minivault.vault.evidence import cosigned_at, parse_vkey
from minivault.vault.proof.key import SigningKey, raw
from minivault.vault.proof.note import COSIGNATURE, encode, key_id, verifier_key
from minivault.vault.proof.tree import EMPTY_ROOT, is_consistent
from minivault.vault.verify import TreeNote, parse_note, unbase64

MAX_BODY = 1 << 16
MAX_PROOF = 63


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered, as HTTP has it."""

    status: HTTPStatus
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


class Witness:
    """One witness: its key and what it has cosigned lie in `directory`. `logs` are the keys (vkeys) of those it knows.

    `clock` gives seconds since 1970. Any thread, and any number of processes, may use one directory. Every method
    raises VaultError or OSError where what it remembers cannot be read or kept, and then signs nothing.
    """

    def __init__(self, directory: Path, name: str, logs: list[str], clock: Callable[[], float]) -> None:
        if not name or any(map(str.isspace, name)) or "+" in name:
            raise ConfigError(
                f"{name!r} is no name of a witness: no spaces and no plus, as in example.org/w1", field="name"
            )
        if not logs:
            raise ConfigError("no key of a log is given; `vault head --vkey` prints one", field="log")
        self._logs: dict[str, list[bytes]] = {}
        for origin, key in map(_log_key, logs):
            self._logs.setdefault(origin, []).append(key)
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        self._directory, self._name, self._clock, self._disk = directory, name, clock, Disk()
        self._lock = threading.Lock()
        with self._held():
            self._key = SigningKey.load(directory) or SigningKey.create(directory, self._disk)

    @property
    def verifier_key(self) -> str:
        """What a policy names it by (vkey)."""
        return verifier_key(self._name, self._key.public, COSIGNATURE)

    def add_checkpoint(self, body: bytes) -> Reply:
        """`POST /add-checkpoint`."""
        asked = _parsed(body)
        if asked is None:
            return Reply(HTTPStatus.BAD_REQUEST, "an old size, a proof, an empty line and a checkpoint are wanted\n")
        old, path, note = asked
        keys = self._logs.get(note.origin)
        if keys is None:
            return Reply(HTTPStatus.NOT_FOUND, "this log is not known here\n")
        if not any(map(note.is_signed_by, keys)):
            return Reply(HTTPStatus.FORBIDDEN, "the checkpoint is not signed by this log's key\n")
        if old > note.size:
            return Reply(HTTPStatus.BAD_REQUEST, "the old size is larger than the checkpoint's\n")
        with self._held():
            return self._cosigned(old, path, note)

    def checkpoint(self, origin_hash: str) -> Reply:
        """`GET /<origin hash>/checkpoint`: the last that was cosigned."""
        origin = next((one for one in self._logs if _hashed(one) == origin_hash), None)
        text = None if origin is None else self._remembered(origin)
        return Reply(HTTPStatus.NOT_FOUND, "nothing was cosigned\n") if text is None else Reply(HTTPStatus.OK, text)

    def _cosigned(self, old: int, path: list[bytes], note: TreeNote) -> Reply:
        before = self._last(note.origin)
        size, root = (before.size, before.root) if before is not None else (0, EMPTY_ROOT)
        if old != size or (size == note.size and root != note.root):
            return Reply(HTTPStatus.CONFLICT, f"{size}\n", "text/x.tlog.size")
        is_sound = bool(note.size) or note.root == EMPTY_ROOT
        is_grown = not path if not old else is_consistent(old, root, note.size, note.root, path)
        if not (is_sound and is_grown):
            return Reply(HTTPStatus.UNPROCESSABLE_ENTITY, "it does not extend what was cosigned before\n")
        line = self._sign(note)
        self._disk.replace(self._path(note.origin), f"{note.text}\n{_lines_of(note)}{line}".encode())
        return Reply(HTTPStatus.OK, line)

    def _sign(self, note: TreeNote) -> str:
        time_s = int(self._clock())
        signature = raw(self._key.sign(f"cosignature/v1\ntime {time_s}\n{note.text}".encode()))
        id_ = key_id(self._name, COSIGNATURE, raw(self._key.public))
        return f"\N{EM DASH} {self._name} {encode(id_ + time_s.to_bytes(8, 'big') + signature)}\n"

    def _last(self, origin: str) -> TreeNote | None:
        """What was cosigned last, which only this witness's own signature makes credible."""
        text = self._remembered(origin)
        if text is None:
            return None
        note, key = parse_note(text), raw(self._key.public)
        if note is None or all(cosigned_at(note, name, key) is None for name, _ in note.signatures):
            raise VaultError(
                f"{self._path(origin)} is not what this witness has signed last: it is damaged, or the key is another; "
                "put the true one there before more is cosigned"
            )
        return note

    def _remembered(self, origin: str) -> str | None:
        try:
            fd = open_plain(self._path(origin))
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read(MAX_BODY).decode("utf-8", "replace")

    def _path(self, origin: str) -> Path:
        return self._directory / f"{_hashed(origin)}.checkpoint"

    @contextmanager
    def _held(self) -> Iterator[None]:
        """What is remembered is compared and replaced by one request at a time."""
        fd = self._disk.open(self._directory / "witness.lock")
        try:
            with self._lock:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield
        finally:
            os.close(fd)


def _hashed(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _lines_of(note: TreeNote) -> str:
    """The log's own signature lines."""
    own = [data for name, data in note.signatures if name == note.origin]
    return "".join(f"\N{EM DASH} {note.origin} {base64.b64encode(data).decode('ascii')}\n" for data in own)


def _log_key(vkey: str) -> tuple[str, bytes]:
    parsed = parse_vkey(vkey)
    if parsed is None or parsed[1] != 1:
        raise ConfigError(f"{vkey[:80]!r} is no key of a log; `vault head --vkey` prints one", field="log")
    return parsed[0], parsed[2]


def _parsed(body: bytes) -> tuple[int, list[bytes], TreeNote] | None:
    """The old size, the proof and the checkpoint of a request; None where it has another form."""
    try:
        head, _, rest = body.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        return None
    first, *proof = head.split("\n")
    note, number = parse_note(rest), first.removeprefix("old ")
    path = [unbase64(line) for line in proof]
    is_number = number.isascii() and number.isdigit() and str(int(number[:20])) == number
    if not first.startswith("old ") or not is_number or note is None or len(proof) > MAX_PROOF:
        return None
    return (int(number), path, note) if all(len(node) == 32 for node in path) else None
