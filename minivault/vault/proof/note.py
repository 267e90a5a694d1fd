"""Signed notes and the checkpoints in them, as C2SP specifies them (signed-note, tlog-checkpoint), so that tools that
are not ours can read what the vault signs.

A vault's origin, which is also the name of its key, is `minivault/` and the vault's id.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from minivault.vault.proof.key import SigningKey, raw
from minivault.vault.verify import parse_note, unbase64

ED25519, COSIGNATURE = b"\x01", b"\x04"
"""The types of a log's signature and of a witness's, with its time, in a key's id and encoding."""
_SIGNATURE = re.compile(r"\u2014 [^ \n]+ [A-Za-z0-9+/]+={0,2}\n")


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def origin_of(vault: str, base: int = 1) -> str:
    """The name of the tree that begins at record `base`; one that does not begin at the first is another log."""
    return f"minivault/{vault}" if base == 1 else f"minivault/{vault}/{base}"


def key_id(name: str, type_: bytes, public: bytes) -> bytes:
    """The four bytes that, with the name, tell which key has signed."""
    return hashlib.sha256(name.encode() + b"\n" + type_ + public).digest()[:4]


def verifier_key(name: str, public: str, type_: bytes = ED25519) -> str:
    """The key as C2SP's tools take it (vkey); `public` as `vault.pub` has it."""
    key = raw(public)
    return f"{name}+{key_id(name, type_, key).hex()}+{encode(type_ + key)}"


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a checkpoint says: of which log, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def base(self) -> int:
        """The seq of the first leaf, which the origin says."""
        return int([*self.origin.split("/"), "1"][2])

    @property
    def last_seq(self) -> int:
        return self.base + self.size - 1

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{encode(self.root)}\n"

    def signed(self, key: SigningKey) -> str:
        """The checkpoint, a note with one signature."""
        signature = key_id(self.origin, ED25519, raw(key.public)) + raw(key.sign(self.text.encode()))
        return f"{self.text}\n\N{EM DASH} {self.origin} {encode(signature)}\n"


def read_head(note: str) -> TreeHead | None:
    """What a checkpoint of a vault's says, its signatures unchecked; None where it is none."""
    found = parse_note(note)
    return TreeHead(found.origin, found.size, found.root) if found is not None and found.base else None


def is_signature(line: str) -> bool:
    """Whether a text is the line of one signature in a note, newline included."""
    return _SIGNATURE.fullmatch(line) is not None and len(signer_of(line)[1]) == 4


def signer_of(line: str) -> tuple[str, bytes]:
    """The name and the key's id of a signature line."""
    _, name, data = line.split(" ", 2)
    return name, unbase64(data.removesuffix("\n"))[:4]
