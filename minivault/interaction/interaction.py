"""One answer, from its journal entry to its record.

The order is the promise: the journal entry is durable before the first event is handed out, and the finished record is
durable before the last one. What cannot be recorded ends in `VaultUnavailable` instead of an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from minivault.errors import MiniVaultError, VaultUnavailable
from minivault.interaction.recorder import Origin, Recorder
from minivault.interaction.recording import Recording
from minivault.metrics import Metrics
from minivault.service import Generation, Model
from minivault.service.scores import digest
from minivault.types import (
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    GenerateTask,
    ModelInfo,
    Started,
    Timings,
    TokenLogprob,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, for callers that do not stream."""

    text: str
    finished: Finished
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    reasoning: str = ""
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None


class Interaction:
    """One accepted request. Read `events` once; call `close` when done with it, whatever happened."""

    def __init__(
        self,
        task: GenerateTask,
        info: ModelInfo,
        origin: Origin,
        generation: Generation,
        recording: Recording,
        metrics: Metrics,
    ) -> None:
        self.task = task
        self.info = info
        self.usage = Usage()
        """What it used; known once it has ended."""
        self._origin = origin
        self._recording = recording
        self._metrics = metrics
        self._generation = generation
        self._source = generation.batches()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._token_ids: list[int] = []
        self._prompt_logprobs: tuple[TokenLogprob, ...] | None = None
        self._num_bytes = 0
        self._last_token_s = 0.0
        self._lock = threading.Lock()
        self._ended = False

    @classmethod
    def begin(cls, recorder: Recorder, model: Model, task: GenerateTask, origin: Origin) -> Interaction:
        """Begin an answer and its record. Raises, before anything is generated, whatever makes it refusable:
        BadRequest, Overloaded, Loading, Draining, VaultUnavailable."""
        recorder.vault.check_writable()
        deadline_ns = time.monotonic_ns() + int(recorder.settings.deadline_s * 1e9)
        generation = model.generate(task, origin.id, deadline_ns)
        info = model.info
        try:
            recording = recorder.open(task, info, origin)
        except MiniVaultError:
            generation.cancel()
            raise
        return cls(task, info, origin, generation, recording, recorder.metrics)

    @property
    def id(self) -> str:
        return self._origin.id

    @property
    def model(self) -> str:
        return self.info.name

    @property
    def fingerprint(self) -> str:
        return self.info.fingerprint

    @property
    def seed(self) -> int:
        return self.task.params.seed or 0

    @property
    def num_dropped(self) -> int:
        return self.task.num_dropped

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Ask for the end; the terminal event still comes. Safe from any thread."""
        self._generation.cancel(reason)

    def events(self) -> Iterator[Event]:
        """Started, then Deltas, then exactly one Finished (its record is durable by then) or Failed."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Event]]:
        """The same, those together that have come together; see `Generation.batches`."""
        is_streamed = self.task.is_streamed
        for batch in self._source:
            first = batch[0]
            if isinstance(first, Finished | Failed):
                yield [self._end(first)]
                return
            if isinstance(first, Started):
                self._prompt_logprobs = first.prompt_logprobs
                refusal = self._await_journal()
                if refusal is not None:
                    yield [refusal]
                    return
            text, reasoning = self._keep(batch)
            if is_streamed:
                piece = (text, reasoning) if self._generation.is_elsewhere else ()
                self._recording.progress(len(self._token_ids), self._num_bytes, *piece)
            yield batch

    def collect(self) -> Answer:
        """The whole answer. Raises the error of a failed generation."""
        logprobs: list[TokenLogprob] = []
        for event in self.events():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Delta):
                logprobs.extend(event.logprobs)
            if isinstance(event, Finished):
                reasoning, scored = "".join(self._reasoning), self._prompt_logprobs
                text = "".join(self._text)
                return Answer(text, event, tuple(self._token_ids), tuple(logprobs), reasoning, scored)
        raise AssertionError("a generation ends in Finished or Failed")

    def close(self) -> None:
        """Stop what still runs and record it, with all that was generated; idempotent. Never raises: the client is
        gone."""
        with self._lock:
            if self._ended:
                return
        self.cancel()
        for batch in self._source:
            if isinstance(batch[0], Finished | Failed):
                self._end(batch[0])
            else:
                self._keep(batch)
        # An interrupt inside `events` has exhausted the source without its end: the record is owed all the same.
        self._end(Finished("cancelled", Usage(len(self.task.tokens), len(self._token_ids)), Timings()))

    def _await_journal(self) -> Finished | Failed | None:
        try:
            self._recording.wait()
        except VaultUnavailable as error:
            self.cancel()
            for _ in self._source:
                pass
            return self._end(Failed(error))
        return None

    def _keep(self, batch: list[Event]) -> tuple[str, str]:
        """Keep what has been said for the record; the text and the thought of it."""
        text, reasoning, now_s = "", "", time.monotonic()
        for event in batch:
            if not isinstance(event, Delta):
                continue
            if self._last_token_s and event.token_ids:
                self._metrics.inter_token.observe((now_s - self._last_token_s) / len(event.token_ids))
            self._last_token_s = now_s
            text += event.text
            reasoning += event.reasoning
            self._token_ids += event.token_ids
        self._text.append(text)
        self._reasoning.append(reasoning)
        self._num_bytes += len(text.encode()) + len(reasoning.encode())
        return text, reasoning

    def _end(self, event: Finished | Failed) -> Finished | Failed:
        """Record the end, then hand it out; a record that cannot be kept turns the end into a failure."""
        with self._lock:
            if self._ended:
                return event
            self._ended = True
        self.usage = event.usage
        reason: FinishReason = event.reason if isinstance(event, Finished) else "error"
        try:
            status = self._recording.close(
                reason,
                "".join(self._text),
                usage=event.usage,
                timings=asdict(event.timings),
                token_ids=tuple(self._token_ids),
                reasoning="".join(self._reasoning),
                error=event.error if isinstance(event, Failed) else None,
                scores=None if self._prompt_logprobs is None else digest(self._prompt_logprobs),
                upstream=self._generation.told,
            )
        except VaultUnavailable as error:
            return Failed(error, event.usage, event.timings)
        self._metrics.observe(self._origin.api, status, reason, event.usage, event.timings)
        return replace(event, receipt=self._recording.receipt()) if isinstance(event, Finished) else event
