"""Decisions and relevances under the same promise as answers: one record each, durable before its numbers are given.

Nothing is generated, so a record has no completion tokens; its response holds the log-probability of every label, from
which the probabilities follow, and which can be measured again from the tokens.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict

from minivault.errors import DeadlineExceeded, Draining, GenerationFailed
from minivault.interaction.recorder import Origin, Recorder
from minivault.interaction.recording import Recording
from minivault.service import Cancelled, Generation, Model, measured, weighed
from minivault.types import FinishReason, Measured, MeasureTask, Timings, Usage


class Measuring:
    """The tasks of one request, one after the other; all within its deadline."""

    def __init__(self, recorder: Recorder, model: Model) -> None:
        self._recorder = recorder
        self._model = model
        self._deadline_ns = time.monotonic_ns() + int(recorder.settings.deadline_s * 1e9)
        self._lock = threading.Lock()
        self._running: Generation | None = None
        self._is_cancelled = False
        self.num_tokens = 0
        """Tokens that were read, whatever came of it."""

    def cancel(self) -> None:
        """End what runs and begin nothing more. Safe from any thread."""
        with self._lock:
            self._is_cancelled = True
            if self._running is not None:
                self._running.cancel()

    def measure(self, task: MeasureTask, origin: Origin) -> Measured:
        """Measure and record. Raises VaultUnavailable when it cannot be recorded, Overloaded, DeadlineExceeded, …"""
        self._recorder.vault.check_writable()
        began_ns = time.monotonic_ns()
        recording = self._recorder.open(task, self._model.info, origin)
        self.num_tokens += task.num_tokens
        try:
            ends = [self._run(task, number, origin.id) for number in range(len(task.measurements))]
        except BaseException as error:
            failure = error if isinstance(error, Exception) else GenerationFailed("the measurement was interrupted")
            self._close(recording, origin, "", Usage(task.num_tokens), began_ns, failure)
            raise
        logprobs = tuple(found for found, _ in ends)
        probabilities = weighed(logprobs, task.answerer)
        usage = Usage(task.num_tokens, 0, sum(num_cached for _, num_cached in ends))
        response = json.dumps({"logprobs": logprobs, "probabilities": probabilities})
        self._close(recording, origin, response, usage, began_ns)
        return Measured(logprobs, probabilities, usage, recording.receipt())

    def _run(self, task: MeasureTask, number: int, id_: str) -> tuple[tuple[float, ...], int]:
        """The log-probabilities of one measurement, and how many of its tokens were cached."""
        generation = self._model.measure(task.measurements[number], f"{id_}.{number}", self._deadline_ns)
        with self._lock:
            self._running = generation
            if self._is_cancelled:
                generation.cancel()
        return measured(generation)

    def _close(
        self,
        recording: Recording,
        origin: Origin,
        response: str,
        usage: Usage,
        began_ns: int,
        error: Exception | None = None,
    ) -> None:
        reason = _REASONS.get(type(error), "error") if error is not None else "stop"
        timings = Timings(total_ns=time.monotonic_ns() - began_ns)
        status = recording.close(reason, response, usage=usage, timings=asdict(timings), error=error)
        self._recorder.metrics.observe(origin.api, status, reason, usage, timings)


_REASONS: dict[type[Exception], FinishReason] = {
    Cancelled: "cancelled",
    DeadlineExceeded: "deadline",
    Draining: "shutdown",
}
