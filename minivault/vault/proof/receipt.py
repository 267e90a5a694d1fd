"""Receipts: what a client keeps of an answer, to prove later what the vault held when it was given.

A receipt is the vault's signature over one record's place, hash and commitment. Whoever has it can show that the record
is gone, was changed, or that two clients were told two things of the same place. The salts are beside what is signed,
so that a receipt can be handed on without them: then it lets nobody confirm a guess of what was said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.vault.proof.key import SECRET, SigningKey
from minivault.vault.record import canonical

FORMAT = 2
"""Format 1 had `time_ns` for `timestamp`: a number that JavaScript and `jq` round, which spoils the signature."""
COMMITTED = ("content_sha256", "reasoning_sha256")
SALTS = ("salt", "reasoning_salt")
Receipt = dict[str, Any]

logger = logging.getLogger(__name__)


class Receipts:
    """Signs receipts for the vault of `directory`. Any thread may use it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / SECRET
        self._fault = ""
        self._held: tuple[tuple[int, int], SigningKey] | None = None

    def sign(self, record: Mapping[str, Any], vault: str) -> Receipt | None:
        """The receipt of a record that has its place; None where the signing key has never been readable,
        or is with an agent that does not sign now.

        A key whose file is gone goes on signing until there is another: it is still the vault's.
        """
        key = self._key()
        if key is None or not vault:
            return None
        place = {name: record[name] for name in ("seq", "id", "timestamp", "hash", "prev")}
        committed = {name: record[name] for name in COMMITTED if name in record}
        signed = {"type": "receipt", "v": FORMAT, "vault": vault, **place, **committed, "key": key.public}
        salts = {name: record[name] for name in SALTS if name in record}
        try:
            return {**signed, "signature": key.sign(canonical(signed)), **salts}
        except VaultError as error:  # an agent that is gone
            if error.message != self._fault:
                logger.error("vault: no receipts: %s", error.message)
            self._fault = error.message
            return None

    def _key(self) -> SigningKey | None:
        try:
            status = self._path.stat(follow_symlinks=False)
            identity = (status.st_ino, status.st_mtime_ns)
            if self._held is None or self._held[0] != identity:
                key = SigningKey.load(self._path.parent)
                self._held = self._held if key is None else (identity, key)
        except (OSError, VaultError):  # no answer depends on it
            pass
        return None if self._held is None else self._held[1]
