"""One accepted request, from its journal entry to its record.

The order is the promise: the journal entry is durable before the first event is handed out, and the finished record is
durable before the last one. What cannot be recorded ends in `VaultUnavailable` instead of an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from minivault.errors import MiniVaultError, VaultUnavailable
from minivault.service import Generation, ServedModel
from minivault.types import Delta, Event, Failed, Finished, FinishReason, Started, Timings, TokenLogprob, Usage
from minivault.vault import Closing, Entry, Opening, Status

STATUS_OF: dict[FinishReason, Status] = {"stop": "completed", "length": "completed", "error": "failed"}

Observe = Callable[[str, Closing, Usage, Timings], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, for callers that do not stream."""

    text: str
    finished: Finished
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]


class Interaction:
    """One accepted request. Read `events` once; call `close` when done with it, whatever happened."""

    def __init__(
        self,
        opening: Opening,
        served: ServedModel,
        generation: Generation,
        entry: Entry,
        observe: Observe,
    ) -> None:
        self.opening = opening
        self.served = served
        self._generation = generation
        self.usage = Usage()
        """What it used; known once it has ended."""
        self._entry = entry
        self._observe = observe
        self._source = generation.events()
        self._text: list[str] = []
        self._token_ids: list[int] = []
        self._num_bytes = 0
        self._lock = threading.Lock()
        self._ended = False

    @property
    def id(self) -> str:
        return self.opening.id

    @property
    def seed(self) -> int:
        return int(self.opening.parameters["seed"])

    @property
    def model(self) -> str:
        return self.opening.model

    @property
    def fingerprint(self) -> str:
        return self.opening.fingerprint

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Ask for the end; the terminal event still comes. Safe from any thread."""
        self._generation.cancel(reason)

    def events(self) -> Iterator[Event]:
        """Started, then Deltas, then exactly one Finished (its record is durable by then) or Failed."""
        for event in self._source:
            if isinstance(event, Finished | Failed):
                yield self._end(event)
                return
            if isinstance(event, Started):
                refusal = self._await_journal()
                if refusal is not None:
                    yield refusal
                    return
            if isinstance(event, Delta):
                self._keep(event)
            yield event

    def collect(self) -> Answer:
        """The whole answer. Raises the error of a failed generation."""
        logprobs: list[TokenLogprob] = []
        for event in self.events():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Delta):
                logprobs.extend(event.logprobs)
            if isinstance(event, Finished):
                return Answer("".join(self._text), event, tuple(self._token_ids), tuple(logprobs))
        raise AssertionError("a generation ends in Finished or Failed")

    def close(self) -> None:
        """Stop what still runs and record it; idempotent. Never raises: the client is gone."""
        with self._lock:
            if self._ended:
                return
        self.cancel()
        for event in self._source:
            if isinstance(event, Finished | Failed):
                self._end(event)
        # An interrupt inside `events` has exhausted the source without its end: the record is owed all the same.
        self._end(Finished("cancelled", Usage(len(self.opening.prompt_tokens), len(self._token_ids)), Timings()))

    def _await_journal(self) -> Finished | Failed | None:
        try:
            self._entry.wait()
        except VaultUnavailable as error:
            self.cancel()
            for _ in self._source:
                pass
            return self._end(Failed(error))
        return None

    def _keep(self, delta: Delta) -> None:
        """Remember a piece, and note in the journal that it is about to be sent."""
        self._text.append(delta.text)
        self._token_ids.extend(delta.token_ids)
        self._num_bytes += len(delta.text.encode())
        if self.opening.stream:
            self._entry.progress(len(self._token_ids), self._num_bytes)

    def _end(self, event: Finished | Failed) -> Finished | Failed:
        """Record the end, then hand it out; a record that cannot be kept turns the end into a failure."""
        with self._lock:
            if self._ended:
                return event
            self._ended = True
        self.usage = event.usage
        closing = self._closing(event)
        try:
            self._entry.finish(closing)
        except VaultUnavailable as error:
            return Failed(error, event.usage, event.timings)
        self._observe(self.opening.api, closing, event.usage, event.timings)
        return event

    def _closing(self, event: Finished | Failed) -> Closing:
        reason: FinishReason = event.reason if isinstance(event, Finished) else "error"
        return Closing(
            status=STATUS_OF.get(reason, "cancelled"),
            finish_reason=reason,
            response="".join(self._text),
            completion_tokens=tuple(self._token_ids),
            usage={**asdict(event.usage), "total_tokens": event.usage.total_tokens},
            timings=asdict(event.timings),
            error=_error_of(event),
        )


def _error_of(event: Finished | Failed) -> dict[str, str] | None:
    if isinstance(event, Finished):
        return None
    if isinstance(event.error, MiniVaultError):
        return {"code": event.error.code, "message": event.error.message}
    return {"code": MiniVaultError.code, "message": "the generation failed"}
