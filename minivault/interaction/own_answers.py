"""What one caller was answered before, read back from the vault by nobody but the key that asked.

Reading is recorded as any reading of the vault is. Taking an answer back removes nothing from it: the answer is no
longer given to its owner, and a record says so. Removing its text is for those who look after the vault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.errors import NotFound, TooLarge
from minivault.vault import Vault
from minivault.vault.index import look_up

MAX_CHARS = 32 << 20
"""How much of earlier exchanges is read for one request, in characters of what was asked and answered."""


class OwnAnswers:
    """The answers that `key` (None: no key was needed) was given through `api`. `client` is where it asks from now."""

    def __init__(self, vault: Vault, api: str, key: str | None, client: str) -> None:
        self._vault, self._api, self._key = vault, api, key
        self._by = f"key {key} from {client}" if key is not None else f"no key, from {client}"
        self._num_chars = 0

    def fetch(self, id_: str) -> Mapping[str, Any]:
        """The record of one answer, checked in its place.

        Raises NotFound where there is none, it is another's, was redacted or taken back; TooLarge where all that was
        fetched is too much to hold; VaultError where the record was changed.
        """
        record = look_up(self._vault.directory, id_)
        if record is None or not self._is_own(record) or "redacted" in record or self._is_withdrawn(id_):
            raise NotFound(f"no answer {id_} is kept for you")
        self._num_chars += len(record["request"]) + len(record["response"])
        if self._num_chars > MAX_CHARS:
            raise TooLarge(f"what came before holds more than {MAX_CHARS >> 20} million characters: send what matters")
        return record

    def record_read(self, id_: str, command: str) -> None:
        """Record that an answer is about to be shown again. Raises VaultUnavailable."""
        self._vault.append_event("read", {"by": self._by, "command": command, "records": 1, "filter": {"id": id_}})

    def withdraw(self, id_: str) -> None:
        """Take an answer back: `fetch` will not find it again. Raises as `fetch` does, VaultUnavailable."""
        record = self.fetch(id_)
        fields = {"target_id": id_, "target_seq": record["seq"], "by": self._by}
        self._vault.append_event("withdrawal", fields, _withdrawal_id(id_))

    def _is_own(self, record: Mapping[str, Any]) -> bool:
        return (record["type"], record.get("api"), record.get("key")) == ("interaction", self._api, self._key)

    def _is_withdrawn(self, id_: str) -> bool:
        return look_up(self._vault.directory, _withdrawal_id(id_)) is not None


def _withdrawal_id(id_: str) -> str:
    """The id of the record that takes an answer back, made of the answer's, so that it is found as fast."""
    return f"withdrawal-{id_}"
