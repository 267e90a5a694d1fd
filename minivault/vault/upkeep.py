"""What a process does for the vault beside writing in it: signing the head now and then, compressing what is sealed.

Signing happens on the writer thread (a millisecond); compressing and indexing on a thread of their own, in whichever
process is first.
"""

from __future__ import annotations

import logging
import threading

from minivault.errors import VaultError
from minivault.vault.index import Index
from minivault.vault.log import Log
from minivault.vault.proof.checkpoint import write_checkpoint
from minivault.vault.rewrite import compress_segments

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
            self._tidy()

    def close(self, timeout_s: float) -> None:
        """Sign the last record and wait for the other thread. Never raises."""
        self._sign()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _sign(self) -> None:
        """Sign the head; where that fails, not again before the next is due."""
        self._num_records, self._signed_ns = 0, self._log.clock()
        try:
            write_checkpoint(self._log)
        except (OSError, VaultError) as error:
            logger.error("vault: no checkpoint could be signed: %s", error)

    def _tidy(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._compress, name="vault-compressor", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            logger.error("vault: sealed segments stay uncompressed until the next rotation: %s", error)
        else:
            self._thread = thread

    def _compress(self) -> None:
        try:
            if not compress_segments(self._log.directory, self._log.disk):
                return
            with Index(self._log.directory) as index:
                index.update()
        except Exception:  # nothing depends on it: the segment stays as it is until the next rotation
            logger.exception("the vault's sealed segments could not be compressed")
