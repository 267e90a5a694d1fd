"""One answer of an engine elsewhere, read by whoever wants its events.

Its request is sent at once. Whatever goes wrong before anything of the answer has come is tried again at another
server, each once; after that nothing is, and the answer fails, so that no two answers are ever mixed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from minivault.errors import DeadlineExceeded, GenerationFailed, MiniVaultError, UpstreamUnavailable
from minivault.service.engine_loop import Generation
from minivault.service.upstream.connection import FAILURES, Exchange
from minivault.service.upstream.fleet import Fleet
from minivault.service.upstream.reading import AnswerReader
from minivault.service.upstream.refusal import Refused, refusal
from minivault.service.upstream.server import Server
from minivault.types import Delta, Event, Failed, Finished, FinishReason, Job, Started, Timings, Usage

DONE = b"[DONE]"
END_S = 1.0
"""How long to wait for the end of a stream after its last object."""
_decode = json.JSONDecoder().raw_decode


class UpstreamGeneration(Generation):
    """A `Generation`. `asked` is the path and body to send, `prefix` the beginning of the prompt."""

    is_elsewhere = True

    def __init__(self, job: Job, fleet: Fleet, model: str, asked: str, prefix: str, left_out: list[str]) -> None:
        super().__init__(job, lambda _id, reason: self._stop(reason))
        self._fleet = fleet
        self._model = model
        self._prefix = prefix
        path, _, body = asked.partition(" ")
        self._path, self._body = path, body.encode()
        self._reader = AnswerReader(job.params)
        self._lock = threading.Lock()
        self._ending: FinishReason | None = None
        self._server: Server | None = None
        self._exchange: Exchange | None = None
        self._tried = list[Server]()
        self._left_out = left_out
        self._began_ns = time.monotonic_ns()
        self._first_ns = 0
        self._has_come = False
        self.told: dict[str, Any] = {}

    def send(self) -> None:
        """Send the request to the first server that takes it. Raises UpstreamUnavailable where none does."""
        self._open()

    # -- asking ---------------------------------------------------------------------------------------------------

    def _open(self, refusal: MiniVaultError | None = None, *, again: Server | None = None) -> None:
        """Ask the next server. Raises `refusal`, the last one's, or UpstreamUnavailable where there is no other."""
        while True:
            server = again or self._fleet.choose(self._model, self._prefix, self._tried)
            if server is None:
                raise refusal or UpstreamUnavailable(
                    f"no engine elsewhere answers: {self._fleet.reasons or 'none serves this model'}", retry_after_s=2
                )
            if again is None:
                self._tried.append(server)
            try:
                exchange = server.send(self._path, self._body, is_fresh=again is not None)
            except FAILURES as error:
                server.fail(f"it cannot be reached: {error}")
                refusal, again = None, None
                continue
            with self._lock:
                self._server, self._exchange = server, exchange
                is_over = self._ending is not None
            if is_over:
                exchange.abort()
            return

    def _stop(self, reason: FinishReason) -> None:
        with self._lock:
            self._ending = self._ending or reason
            exchange = self._exchange
        if exchange is not None:
            exchange.abort()

    # -- reading --------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[list[Event]]:
        """See `Generation.batches`."""
        text = list[str]()
        try:
            for batch in self._guarded():
                if isinstance(batch[0], Finished | Failed):
                    self._leave()  # whoever hears of the end reads no further, and records what was told
                    yield [self.checked(batch[0], "".join(text))]
                else:
                    for event in batch:
                        if isinstance(event, Delta):
                            text.append(event.text)
                    yield batch
        finally:
            self._leave()

    def _leave(self) -> None:
        self._release()
        self._fleet.forget(self)

    def _guarded(self) -> Iterator[list[Event]]:
        try:
            yield from self._answer()
        except FAILURES:
            yield [self._broken()]
        except MiniVaultError as error:
            yield [Failed(error, self._reader.usage, self._timings()) if self._ending is None else self._ended()]

    def _answer(self) -> Iterator[list[Event]]:
        for said in self._said():
            if not self._first_ns and self._ending is None:
                self._first_ns = time.monotonic_ns()
                yield [Started(self._reader.usage.prompt_tokens), *said]
            elif said:
                yield said
            if self._ending is not None or self._is_late:
                yield [self._ended() if self._ending else self._finished("deadline")]
                return
        if rest := list[Event](self._reader.finish()):
            yield rest
        yield [self._complete()]

    def _said(self) -> Iterator[list[Event]]:
        """What the objects of the reply say, those together that have come together. Until the first of them, a server
        that fails is one of several."""
        while True:
            assert self._exchange is not None and self._server is not None
            try:
                for batch in self._objects(self._exchange, self._server):
                    yield from self._read(batch)
                return
            except FAILURES as error:
                if self._has_come or self._ending is not None or self._is_late:
                    raise
                self._release()
                self._elsewhere(error)

    def _read(self, batch: list[bytes]) -> Iterator[list[Event]]:
        """What some objects say: also what was said before one that tells of a failure, or is none."""
        said = list[Event]()
        try:
            for data in batch:
                said += self._reader.feed(_object(data))
                self._has_come = True
        except GenerationFailed:
            if self._has_come:
                yield said
            raise
        yield said

    def _elsewhere(self, error: Exception) -> None:
        """Ask again after a failure: the same server where only an old connection was gone, else another."""
        server, exchange = self._server, self._exchange
        assert server is not None and exchange is not None
        if isinstance(error, Refused):
            self._open(error.error)
        elif exchange.is_reused and server.is_up and not isinstance(error, TimeoutError):
            self._open(again=server)
        else:  # one answer is no proof that the server is down, and others are under way there
            lost = UpstreamUnavailable(f"the engine elsewhere broke off the request ({server.url})", retry_after_s=2)
            self._open(lost)

    def _objects(self, exchange: Exchange, server: Server) -> Iterator[list[bytes]]:
        """The objects of a server's reply as they come."""
        response = exchange.response(self._patience_s)
        if response.status != 200:
            raise refusal(response, server)
        if "event-stream" not in (response.getheader("Content-Type") or ""):
            yield [response.read().strip()]
            return
        for lines in exchange.lines():
            said = [line[5:].strip() for line in lines if line.startswith(b"data:")]
            if objects := [data for data in said if data != DONE]:
                yield objects
            exchange.wait_at_most(END_S if DONE in said else self._patience_s)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _complete(self) -> Finished | Failed:
        reason = self._reader.reason
        if reason is None:
            error = GenerationFailed("the engine elsewhere ended its answer in the middle")
            return Failed(error, self._reader.usage, self._timings())
        if reason == "error":
            return Failed(GenerationFailed("the engine elsewhere gave up"), self._reader.usage, self._timings())
        return self._finished(reason)

    def _broken(self) -> Finished | Failed:
        """The connection broke, timed out, or was ended by us."""
        if self._ending is not None:
            return self._ended()
        if self._is_late:
            late = DeadlineExceeded("the deadline passed before the first token")
            return self._finished("deadline") if self._has_come else Failed(late, Usage(), self._timings())
        if self._reader.reason is not None:  # all was said but the end of the stream
            return self._finished(self._reader.reason)
        where = self._server.url if self._server is not None else "none"
        error = GenerationFailed(f"the engine elsewhere broke off its answer ({where})")
        return Failed(error, self._reader.usage, self._timings())

    def _ended(self) -> Finished:
        return self._finished(self._ending or "cancelled")

    def _finished(self, reason: FinishReason) -> Finished:
        return Finished(reason, self._reader.usage, self._timings(), self._reader.stop if reason == "stop" else None)

    def _timings(self) -> Timings:
        now = time.monotonic_ns()
        first_ns = self._first_ns - self._began_ns if self._first_ns else 0
        return Timings(prefill_ns=first_ns, first_token_ns=first_ns, total_ns=now - self._began_ns)

    def _release(self) -> None:
        """Let go of the connection, and keep what is known of the answer."""
        with self._lock:
            server, exchange = self._server, self._exchange
        if server is None or exchange is None:
            return
        server.release(exchange)
        dropped = self._left_out + (self._reader.dropped if self._reader.reason is not None else [])
        self.told = {
            "server": server.url,
            "engine": server.kind.name,
            **self._reader.told,
            **({"attempts": len(self._tried)} if len(self._tried) > 1 else {}),
            **({"dropped": dropped} if dropped else {}),
        }

    @property
    def _patience_s(self) -> float | None:
        if self.job.deadline_ns is None:
            return None
        return max(0.001, (self.job.deadline_ns - time.monotonic_ns()) / 1e9)

    @property
    def _is_late(self) -> bool:
        return self.job.deadline_ns is not None and time.monotonic_ns() >= self.job.deadline_ns


def _object(data: bytes) -> dict[str, Any]:
    try:
        text = data.decode()
        value, end = _decode(text)
    except (ValueError, RecursionError):
        value, text, end = None, "", 0
    if end != len(text) or not isinstance(value, dict):
        raise GenerationFailed("the engine elsewhere sent what is no JSON object")
    return value
