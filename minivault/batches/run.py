"""One run of a batch: from where it was left to its end, or until the worker stops.

A few requests are under way at once, and each begins only while the server has room that nobody else wants. What cannot
be answered now (429, 503) is tried again; any other refusal is that request's end. A request that was cut by the
worker's end leaves no line: whoever goes on makes it again, with the same seed.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, replace
from threading import Semaphore
from typing import Any, Literal

from minivault.batches.files import Files
from minivault.batches.lines import Line, judge, read_lines
from minivault.batches.results import Results
from minivault.batches.store import Batches, Kept
from minivault.wire.openai.batches import Batch, Status, encode_answered, encode_unanswered

log = logging.getLogger("minivault.batches")

NOT_NOW = frozenset({429, 503})
LOOK_S = 0.2
"""How often a request that waits for its turn looks whether it has come."""
MAX_WAIT_S = 60
"""Longest wait before a request that was told to come later tries again."""
DISK_WAIT_S = 5
Halt = Literal["stopped", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request got: `body` is its JSON; `retry_after_s` counts where the status says to come back."""

    status: int
    request_id: str
    body: dict[str, Any]
    retry_after_s: float = 1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run is told by the worker it runs in."""

    answer: Callable[[Kept, Line], Reply]
    """Makes one request; called from several threads."""
    is_calm: Callable[[], bool]
    """Whether one more request would keep nobody waiting."""
    is_stopping: Callable[[], bool]
    pause: Callable[[float], object]
    """Waits so many seconds, or less."""
    num_at_once: int
    max_body_bytes: int


class Run:
    """Runs a claimed batch."""

    def __init__(self, batches: Batches, files: Files, around: Surroundings, pool: Executor, kept: Kept) -> None:
        self._batches, self._files, self._around, self._pool = batches, files, around, pool
        self._kept = kept
        self._free = Semaphore(around.num_at_once)
        self._saved_at = 0

    @property
    def batch(self) -> Batch:
        return self._kept.batch

    def to_end(self) -> None:
        """Run, and write down how it ended, unless the worker stops first. Raises OSError: it then waits for the next
        look."""
        if self.batch.status == "validating" and not self._begin():
            return
        folder, batch = self._batches.folder, self.batch
        assert batch.output_file_id is not None and batch.error_file_id is not None
        output, errors = folder.place(batch.output_file_id), folder.place(batch.error_file_id)
        results = Results(output, errors, batch.counts.total, folder.disk)
        try:
            halt = self._answer_all(results)
            if halt == "stopped":
                return
            if halt == "expired":
                self._expire_rest(results)
            self._finish(results, halt or "completed")
        finally:
            results.close()

    # -- the beginning --------------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        """Judge the file; False where it is no batch."""
        with self._batches.requests(self.batch.id) as file:
            judged = judge(file, self.batch.endpoint, self._around.max_body_bytes)
        if judged.faults:
            self._enter("failed", faults=judged.faults)
            self._batches.clear(self.batch.id)
            return False
        self._enter(
            "in_progress",
            model=judged.model,
            counts=replace(self.batch.counts, total=judged.num_lines),
            output_file_id=self._batches.folder.new_id("file-"),
            error_file_id=self._batches.folder.new_id("file-"),
        )
        return True

    def _enter(self, status: Status, **changes: Any) -> None:
        """Write down that the batch is in another state."""
        now = self._batches.folder.now_s
        times = {**self.batch.times, status: now}
        self._kept = replace(self._kept, batch=replace(self.batch, status=status, times=times, **changes))
        self._batches.save(self._kept)

    # -- the requests ---------------------------------------------------------------------------------------------

    def _answer_all(self, results: Results) -> Halt | None:
        """Make every request that is not done; why some were not made."""
        under_way = set[Future[None]]()
        try:
            for line in self._undone(results):
                self._free.acquire()
                if self._wait_for_turn() is not None:
                    self._free.release()
                    break
                under_way.add(self._pool.submit(self._answer, line, results))
                ended = {future for future in under_way if future.done()}
                under_way -= ended
                for future in ended:
                    future.result()
                self._tell(results)
        finally:
            wait(under_way)
        for future in under_way:
            future.result()
        return None if len(results.done) == results.counts.total else self._halt()

    def _undone(self, results: Results) -> Iterator[Line]:
        with self._batches.requests(self.batch.id) as file:
            for found in read_lines(file, self.batch.endpoint, os.fstat(file.fileno()).st_size):
                if found.request.custom_id not in results.done:
                    yield found.request

    def _answer(self, line: Line, results: Results) -> None:
        try:
            while (reply := self._around.answer(self._kept, line)).status in NOT_NOW:
                if self._rest(min(reply.retry_after_s, MAX_WAIT_S)) or self._wait_for_turn():
                    return
            response = {"status_code": reply.status, "request_id": reply.request_id, "body": reply.body}
            entry = encode_answered(self.batch.id, line.number, line.custom_id, response)
            self._keep(results, entry, is_error=reply.status != 200)
        finally:
            self._free.release()

    def _keep(self, results: Results, entry: dict[str, Any], *, is_error: bool) -> None:
        """Keep a line; while the disk is full, wait for room."""
        while True:
            try:
                results.add(entry, is_error=is_error)
                return
            except OSError as error:
                log.warning("a result of %s cannot be written, and waits: %s", self.batch.id, error.strerror)
            if self._around.is_stopping():
                return
            self._around.pause(DISK_WAIT_S)

    def _wait_for_turn(self) -> Halt | None:
        """Wait while others want the server; why to wait no longer, None where it is this batch's turn."""
        while (halt := self._halt()) is None and not self._around.is_calm():
            self._around.pause(LOOK_S)
        return halt

    def _rest(self, seconds: float) -> Halt | None:
        """Wait so long, or until there is a reason not to."""
        for _ in range(math.ceil(seconds / LOOK_S)):
            if (halt := self._halt()) is not None:
                return halt
            self._around.pause(LOOK_S)
        return None

    def _halt(self) -> Halt | None:
        """Why no further request should be made."""
        if self._around.is_stopping():
            return "stopped"
        if self._batches.cancel_asked_at(self.batch.id) is not None:
            return "cancelled"
        return "expired" if self._batches.folder.now_s >= self.batch.expires_at else None

    def _tell(self, results: Results) -> None:
        """Write down how far it is, at most once a second."""
        now = self._batches.folder.now_s
        if now != self._saved_at:
            self._saved_at = now
            self._kept = replace(self._kept, batch=replace(self.batch, counts=results.counts))
            self._batches.save(self._kept)

    # -- the end --------------------------------------------------------------------------------------------------

    def _expire_rest(self, results: Results) -> None:
        """Say of every request that was not made that it never will be."""
        message = "This request could not be executed before the completion window expired."
        for line in self._undone(results):
            entry = encode_unanswered(self.batch.id, line.number, line.custom_id, "batch_expired", message)
            self._keep(results, entry, is_error=True)

    def _finish(self, results: Results, status: Status) -> None:
        """Make the results files and write down the end: done again from the start where a crash cuts it."""
        asked_at = self._batches.cancel_asked_at(self.batch.id)
        if status == "cancelled":
            self._kept = replace(
                self._kept, batch=replace(self.batch, times={**self.batch.times, "cancelling": asked_at or 0})
            )
        else:
            self._enter("finalizing", counts=results.counts)
        output = self._announce(results, self.batch.output_file_id, "output", is_error=False)
        errors = self._announce(results, self.batch.error_file_id, "error", is_error=True)
        self._enter(status, counts=results.counts, output_file_id=output, error_file_id=errors)
        self._batches.clear(self.batch.id)

    def _announce(self, results: Results, file_id: str | None, kind: str, *, is_error: bool) -> str | None:
        """Make a results file one that its owner can read; one that holds nothing is removed."""
        assert file_id is not None
        if results.is_empty(is_error=is_error):
            self._batches.folder.place(file_id).unlink(missing_ok=True)
            return None
        self._files.announce(file_id, self._kept.owner, f"{self.batch.id}_{kind}.jsonl", "batch_output")
        return file_id
