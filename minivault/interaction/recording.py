"""Recording: one piece of work on its way into the vault, the same for every kind of work.

Opened by the `Recorder` before anything is given, closed once when it is known how it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from minivault.errors import MiniVaultError
from minivault.types import FinishReason, Usage
from minivault.vault import Closing, Entry, Status

STATUS_OF: dict[FinishReason, Status] = {"stop": "completed", "length": "completed", "error": "failed"}


class Told(Protocol):
    """Tells those who watch the server how it ended; `code` is the error's, or empty."""

    def __call__(self, status: str, reason: str, usage: Usage, timings: Mapping[str, int], code: str, /) -> None: ...


class Recording:
    """`wait` before the first byte of an answer leaves, `close` before the last. Both raise VaultUnavailable."""

    def __init__(self, entry: Entry, told: Told) -> None:
        self._told = told
        self.wait = entry.wait
        """Block until the request is durable."""
        self.progress = entry.progress
        """Note the totals (tokens, bytes) of what has been sent, just before sending, and the piece (text, thoughts)
        where it cannot be computed again."""
        self.receipt = entry.receipt
        """What the client may keep of the record, once it is closed; None where it has no place yet."""
        self._finish = entry.finish

    def close(
        self,
        reason: FinishReason,
        response: str,
        *,
        usage: Usage,
        timings: Mapping[str, int],
        token_ids: tuple[int, ...] = (),
        reasoning: str = "",
        error: Exception | None = None,
        scores: str | None = None,
        upstream: Mapping[str, Any] | None = None,
    ) -> Status:
        """Block until the end is recorded, and return the status that it was recorded with."""
        status = STATUS_OF.get(reason, "cancelled")
        used = {**asdict(usage), "total_tokens": usage.total_tokens}
        failure = None if error is None else _as_fields(error)
        self._finish(Closing(status, reason, response, token_ids, used, timings, failure, scores, reasoning, upstream))
        self._told(status, reason, usage, timings, "" if failure is None else failure["code"])
        return status


def _as_fields(error: Exception) -> dict[str, str]:
    if isinstance(error, MiniVaultError):
        return {"code": error.code, "message": error.message}
    return {"code": MiniVaultError.code, "message": "the generation failed"}
