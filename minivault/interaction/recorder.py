"""Recorder: a server's models and its vault, and the one way from a piece of work to its record.

The vault is opened on first use, so after any fork. Which kinds of work there are is not known here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from minivault import __version__
from minivault.config import Settings
from minivault.errors import MiniVaultError, VaultError, VaultUnavailable
from minivault.interaction.recording import Recording
from minivault.metrics import Load, Metrics, VaultState
from minivault.observe.ended import Ended
from minivault.observe.watchers import Watchers
from minivault.service import Roster, mark_of, roster_of
from minivault.tracing import trace_id_of
from minivault.types import ModelInfo, Task, Usage
from minivault.vault import Opening, Vault, VaultStatus, new_id
from minivault.vault.readable import current_user
from minivault.vault.settings_seen import note_settings, shown_settings

log = logging.getLogger("minivault.interaction")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked and through which door. `id` becomes the record's id; `body` is the request as received."""

    id: str
    api: str
    body: str = ""
    client: str = ""
    user_agent: str = ""
    key: str | None = None
    noted: tuple[str, ...] = ()
    """Fields of the body that bind nobody."""
    traceparent: str = ""
    """The client's own trace that the request belongs to, as its header names it."""
    batch: Mapping[str, Any] | None = None


class Recorder:
    """What the HTTP dialects and the CLI work with: `roster` finds a model, `open` begins a record."""

    def __init__(self, settings: Settings, roster: Roster, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.roster = roster
        self.metrics = metrics or Metrics()
        self.watchers = Watchers()
        self._vault: Vault | None = None
        self._vault_id = ""
        self._lock = threading.Lock()
        self._explained = set[str]()
        self._explaining = threading.Lock()

    @property
    def vault(self) -> Vault:
        """This process's vault, opened on first use (after fork). Raises VaultUnavailable if it cannot be."""
        with self._lock:
            if self._vault is None:
                self._vault = _open_vault(self.settings, self._vault_id)
            return self._vault

    def open_vault(self, vault: str = "") -> None:
        """Open the vault now, where `vault` is given the one of that id; one that cannot be opened is logged here and
        refuses each request."""
        self._vault_id = vault
        try:
            self._note_settings(self.vault)
        except MiniVaultError as error:
            log.error("cannot open the vault: %s", error.message)

    def _note_settings(self, vault: Vault) -> None:
        """Record what a server is told otherwise than the last one here."""

        def record(changes: Mapping[str, Any]) -> None:
            what = {"command": "settings", "settings_digest": self.settings.digest, "details": dict(changes)}
            vault.append_event("admin", {"by": current_user(), **what})

        try:
            note_settings(vault.directory, shown_settings(self.settings), shown_settings(Settings()), record)
        except OSError as error:
            log.error("what differs from the last settings is not recorded: %s", error)

    def measure(self) -> None:
        """Take down what this worker is doing, for whichever worker is asked for metrics."""
        status = self.roster.status()
        load = Load(status.running, status.waiting, status.cache, status.stats)
        self.metrics.measure(load, self._vault_state())

    def _vault_state(self) -> VaultState | None:
        with self._lock:
            vault = self._vault
        if vault is None:
            return None
        status = vault.status()
        return VaultState(
            num_records=status.seq,
            bytes_free=status.bytes_free,
            is_writable=status.writable,
            written_s=status.written_s,
            signed_s=status.signed_s,
            num_open=status.num_open,
            num_gaps=status.num_gaps,
            syncs_s=vault.take_commit_times(),
        )

    def vault_status(self) -> VaultStatus:
        """Where the vault stands. Raises VaultUnavailable if it cannot be opened."""
        return self.vault.status()

    def open(self, task: Task, info: ModelInfo, origin: Origin) -> Recording:
        """Begin the record of a piece of work that a model does for someone. Raises VaultUnavailable."""
        if info.fingerprint not in self._explained:
            self.explain(info)
        opening = Opening(
            id=origin.id,
            time_ns=time.time_ns(),
            api=origin.api,
            stream=task.is_streamed,
            model=info.name,
            fingerprint=info.fingerprint,
            parameters=task.parameters,
            prompt=task.text,
            request=origin.body,
            rendered_prompt=task.rendered,
            prompt_tokens=task.tokens,
            client=origin.client,
            user_agent=origin.user_agent,
            key=origin.key,
            answerer=task.answerer,
            control_text=task.has_control_text,
            noted=origin.noted,
            trace_id=trace_id_of(origin.traceparent),
            batch=origin.batch,
        )

        def told(status: str, reason: str, usage: Usage, timings: Mapping[str, int], code: str) -> None:
            self.watchers.ended(_ended(opening, origin, status, reason, usage, timings, code))

        return Recording(self.vault.begin(opening), told)

    def explain(self, info: ModelInfo) -> None:
        """Record what a model's fingerprint is made of, once a process and before any record made under it. Raises
        VaultUnavailable."""
        with self._explaining:
            if info.fingerprint in self._explained:
                return
            if info.fingerprint_parts:
                facts = {"model": info.name, "fingerprint": info.fingerprint, "parts": dict(info.fingerprint_parts)}
                self.vault.append_event("model", facts)
            self._explained.add(info.fingerprint)

    def record_auth_failure(self, client: str, reason: str) -> None:
        """Record a refused key. Raises VaultUnavailable: what cannot be recorded is refused all the same."""
        self.vault.append_event("auth_failed", {"client": client, "reason": reason})

    def close(self, timeout_s: float = 2.0) -> None:
        """Flush and close the vault, and take leave of those who watch; models are closed by their owner."""
        self.watchers.close()
        with self._lock:
            if self._vault is not None:
                self._vault.close(timeout_s)
                self._vault = None


def _ended(
    opening: Opening,
    origin: Origin,
    status: str,
    reason: str,
    usage: Usage,
    timings: Mapping[str, int],
    code: str,
) -> Ended:
    return Ended(
        id=opening.id,
        api=opening.api,
        model=opening.model,
        began_ns=opening.time_ns,
        status=status,
        finish_reason=reason,
        usage=usage,
        timings=timings,
        is_streamed=opening.stream,
        client=opening.client,
        key=opening.key,
        traceparent=origin.traceparent,
        parameters=opening.parameters,
        error_code=code,
    )


def _open_vault(settings: Settings, vault: str) -> Vault:
    start: dict[str, Any] = {"version": __version__, "settings_digest": settings.digest}
    if (mark := mark_of(settings)) is not None:
        start["watermark"] = mark.told
    size = settings.vault_segment_mb << 20
    try:
        return Vault.open(
            settings.log_dir,
            sync=settings.vault_sync,
            segment_bytes=size,
            start=start,
            vault=vault,
            node=settings.node,
        )
    except VaultError as error:
        raise VaultUnavailable(error.message, retry_after_s=60) from error


@contextmanager
def open_local(settings: Settings) -> Iterator[Recorder]:
    """Models in this process, loaded when they are asked for, and the vault: what commands use when no server runs."""
    roster = roster_of(settings)
    recorder = Recorder(settings, roster)
    try:
        yield recorder
    finally:
        roster.close()
        recorder.close()


def next_id() -> str:
    """A new record id, ordered by time."""
    return new_id(time.time_ns())
