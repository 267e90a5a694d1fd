"""The vault as those see it who read and look after it: every reading and every change is recorded before it is shown.

Commands use this; a server's own writing goes through `Vault`. Several archives and servers may use one directory.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.vault.copying import copy_encrypted
from minivault.vault.holding import release_hold, set_hold
from minivault.vault.index import Index
from minivault.vault.keeping import Keeping
from minivault.vault.place import Record
from minivault.vault.proof.checkpoint import write_checkpoint
from minivault.vault.proof.heads import SignedHead, add, signed_heads
from minivault.vault.proof.key import SigningKey
from minivault.vault.proof.note import TreeHead
from minivault.vault.proof.signer import change_signer, told
from minivault.vault.proof.timestamp import head_of
from minivault.vault.pruning import Pruned, prune
from minivault.vault.readable import Readable, written_or_nothing
from minivault.vault.reader import Filter, search
from minivault.vault.record import Place
from minivault.vault.recover import Recovered, Regenerate, recover_journals
from minivault.vault.removal import Erasure, complete_redactions, redact


class Archive(Readable):
    """A vault's log, for reading and maintenance. `by` is who does it. Raises VaultError where there is no vault."""

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def checkpoint(self) -> dict[str, Any]:
        """Sign the head; the line is to be kept elsewhere."""
        with written_or_nothing():
            return write_checkpoint(self._log)

    def signer(self) -> tuple[str, str]:
        """Where the signing key is held, `file` or `ssh-agent`, and its fingerprint. Raises VaultError."""
        key = SigningKey.load(self.directory)
        if key is None:
            raise VaultError(f"{self.directory} holds no signing key; `vault checkpoint` makes one")
        return told(key)

    def change_signer(self, to: str) -> Place:
        """Let the ssh-agent's key of this fingerprint sign from here on, or with `file` a new one beside the log."""
        with written_or_nothing():
            return change_signer(self._log, to, by=self.by)

    def archive(self, target: Path, recipients: list[str]) -> int:
        """Bring an encrypted copy up to date; returns how many files were written. Raises BadRequest, ConfigError."""
        self.checkpoint()
        count = sum(1 for _ in copy_encrypted(self._log, target, recipients))
        self.note_act("vault archive", {"name": str(target), "encrypt_to": recipients, "files": count})
        return count

    def add_cosignatures(self, head: TreeHead, lines: list[str]) -> None:
        """Keep a witness's signature lines with the head that they are of."""
        with written_or_nothing(), self._log.locked():
            for line in lines:
                add(self._log, "cosignature", head, line=line)

    def add_timestamp(self, response: bytes) -> SignedHead:
        """Keep a timestamp authority's response with the head that it is about. Raises VaultError."""
        signed = head_of(response, signed_heads(self.directory))
        text = base64.b64encode(response).decode("ascii")
        with written_or_nothing(), self._log.locked():
            if text not in signed.timestamps:
                add(self._log, "timestamp", signed.head, response=text)
        return signed

    def redact(self, id_or_seq: str, reason: str, part: str | None = None) -> Place:
        """Remove the content of one record for good, or the `part` of it (`reasoning`). Raises NotFound, VaultError."""
        [place] = self.redact_all([self._find(id_or_seq)], reason, part)
        return place

    def redact_all(
        self,
        targets: Sequence[Record],
        reason: str,
        part: str | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> list[Place]:
        """Remove the content of these records, in their order. What was done before an interruption stays done.

        Raises Retained, and then has removed nothing, VaultError.
        """
        self.checkpoint()  # what cannot be signed is not begun
        with written_or_nothing():
            how = partial(redact, self._log, targets, by=self.by, reason=reason, part=part)
            places = how(keep_days=self._keep_days, watch=watch)
        self.checkpoint()
        return places

    def removable(self, wanted: Filter, part: str | None = None) -> Erasure:
        """What a redaction of all that match would remove, and what would stay and why; nothing is done."""
        erasure = Erasure.of(search(self.directory, wanted), self.kept(), part)
        self._record_read("redact", wanted.describe(), len(erasure.targets))
        return erasure

    def kept(self) -> Keeping:
        """What forbids removals now."""
        return Keeping.now(self.directory, self._keep_days, self._log.clock())

    def prune(self, keep_days: float) -> Pruned:
        """Remove sealed segments whose records are all older than `keep_days`. Raises Retained."""
        with written_or_nothing():
            return prune(self._log, keep_days=keep_days, by=self.by, floor_days=self._keep_days)

    def hold(self, name: str, wanted: Filter, reason: str) -> Place:
        """Keep what is wanted from being removed until that is released. Raises BadRequest for a name in use."""
        with written_or_nothing():
            return set_hold(self._log, name, wanted, by=self.by, reason=reason)

    def num_held(self, name: str) -> int:
        """How many records that are there a hold in force covers, beside its own. Raises VaultError."""
        [hold] = (hold for hold in self.kept().holds if hold.name == name)
        found = search(self.directory, replace(hold.wanted, text=""))
        return sum(hold.covers(record) for record in found if record["seq"] != hold.seq)

    def release(self, name: str, reason: str) -> Place:
        """End a hold. Raises NotFound."""
        with written_or_nothing():
            return release_hold(self._log, name, by=self.by, reason=reason)

    def note_act(self, command: str, details: Mapping[str, Any]) -> Place:
        """Record what an administrator has done beside the vault: to keys, models, settings."""
        with written_or_nothing():
            return self._append(self._log.draft("admin", {"by": self.by, "command": command, "details": dict(details)}))

    def recover(self, regenerate: Regenerate | None = None) -> tuple[list[Recovered], int]:
        """Record what dead processes left open, and carry out redactions cut short: those, and how many of these."""
        with written_or_nothing():
            recovered = recover_journals(self.directory, self._append, regenerate=regenerate)
            return recovered, complete_redactions(self._log)

    def reindex(self) -> int:
        """Bring the index up to date; returns how many segments it took in."""
        with Index(self.directory) as index:
            return index.update()
