"""What a process does for the vault beside writing in it: signing the head now and then, compressing what is sealed.

Signing happens on the writer thread (a millisecond); compressing and indexing on a thread of their own, in whichever
process is first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from minivault.errors import VaultError
from minivault.vault.index import Index
from minivault.vault.log import Log
from minivault.vault.proof.checkpoint import write_tree_head
from minivault.vault.proof.heads import catch_up
from minivault.vault.rewrite import compress_segments, maintenance
from minivault.vault.said import index as said

CHECKPOINT_RECORDS = 1000
CHECKPOINT_NS = 15 * 60 * 10**9

logger = logging.getLogger(__name__)


class Upkeep:
    """The housekeeping of one process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._num_records = 0
        self._num_rotations = 0
        self._signed_ns = log.clock()
        self._thread: threading.Thread | None = None

    def after_commit(self, num_records: int) -> None:
        """Called by the writer after every batch of records. Never raises: no answer depends on it."""
        has_rotated = self._log.num_rotations != self._num_rotations
        self._num_rotations = self._log.num_rotations
        self._num_records += num_records
        is_time = abs(self._log.clock() - self._signed_ns) >= CHECKPOINT_NS
        if has_rotated or is_time or self._num_records >= CHECKPOINT_RECORDS:
            self._sign()
        if has_rotated:
            self._start(self._compress)

    def close(self, timeout_s: float) -> None:
        """Sign the last record and wait for the other thread. Never raises."""
        self._sign()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _sign(self) -> None:
        """Sign the head and the tree's; where that fails, not again before the next is due."""
        self._num_records, self._signed_ns = 0, self._log.clock()
        try:
            if write_tree_head(self._log, is_patient=False) is None:
                self._start(self._catch_up)
        except (OSError, VaultError) as error:
            logger.error("vault: no checkpoint could be signed: %s", error)

    def _start(self, work: Callable[[], None]) -> None:
        """Do it on a thread, unless one is at work; then it waits until it is due again."""
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=work, name="vault-upkeep", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            logger.error("vault: its upkeep waits until it is due again: %s", error)
        else:
            self._thread = thread

    def _compress(self) -> None:
        try:
            if not compress_segments(self._log.directory, self._log.disk):
                return
            with Index(self._log.directory) as index:
                index.update()
            said.update(self._log.directory, self._log.disk)
        except Exception:  # nothing depends on it: the segment stays as it is until the next rotation
            logger.exception("the vault's sealed segments could not be compressed")

    def _catch_up(self) -> None:
        log = Log(self._log.directory, disk=self._log.disk, vault=self._log.known_vault)
        try:
            with maintenance(log.directory, log.disk, wait=False) as is_ours:
                if is_ours:
                    catch_up(log)
        except (OSError, VaultError) as error:
            logger.error("vault: no tree over its records could be made: %s", error)
        finally:
            log.close()
