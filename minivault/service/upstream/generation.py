"""One answer of an engine elsewhere, read by whoever wants its events.

Its request is sent at once. Whatever goes wrong before anything of the answer has come is tried again at another
server, each once; after that nothing is, and the answer fails, so that no two answers are ever mixed.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

from minivault.errors import (
    BadRequest,
    ContextExceeded,
    DeadlineExceeded,
    GenerationFailed,
    MiniVaultError,
    ModelNotFound,
    Overloaded,
    UpstreamUnavailable,
)
from minivault.service.engine_loop import Generation
from minivault.service.upstream.connection import FAILURES, Exchange
from minivault.service.upstream.fleet import Fleet
from minivault.service.upstream.reading import AnswerReader, message_of
from minivault.service.upstream.server import Server
from minivault.types import Delta, Event, Failed, Finished, FinishReason, Job, Started, Timings, Usage

TOO_LONG = ("context length", "context size", "context_length", "exceed_context", "context window", "too long")
"""How engines say that a prompt does not fit."""
TRY_ELSEWHERE = frozenset({401, 403, 404, 429, 500, 502, 503, 504})
"""Refusals that are a server's own and not the request's."""
END_S = 1.0
"""How long to wait for the end of a stream after its last object."""


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

    def events(self) -> Iterator[Event]:
        """See `Generation.events`."""
        text = list[str]()
        try:
            for event in self._guarded():
                if isinstance(event, Delta):
                    text.append(event.text)
                elif isinstance(event, Finished | Failed):
                    self._leave()  # whoever hears of the end reads no further, and records what was told
                if isinstance(event, Finished) and event.reason == "stop":
                    yield self.checked(event, "".join(text))
                else:
                    yield event
        finally:
            self._leave()

    def _leave(self) -> None:
        self._release()
        self._fleet.forget(self)

    def _guarded(self) -> Iterator[Event]:
        try:
            yield from self._answer()
        except FAILURES:
            yield self._broken()
        except MiniVaultError as error:
            yield Failed(error, self._reader.usage, self._timings()) if self._ending is None else self._ended()

    def _answer(self) -> Iterator[Event]:
        chunks = self._chunks()
        first = next(chunks, None)
        if self._ending is not None:
            yield self._ended()
            return
        said = list(self._reader.feed(first)) if first is not None else []
        self._first_ns = time.monotonic_ns()
        yield Started(self._reader.usage.prompt_tokens)
        yield from said
        for chunk in chunks:
            yield from self._reader.feed(chunk)
            if self._ending is not None or self._is_late:
                yield self._ended() if self._ending else self._finished("deadline")
                return
        yield from self._reader.finish()
        yield self._complete()

    def _chunks(self) -> Iterator[dict[str, Any]]:
        """The objects of the reply. Until the first of them, a server that fails is one of several."""
        while True:
            assert self._exchange is not None and self._server is not None
            try:
                for chunk in self._objects(self._exchange, self._server):
                    self._has_come = True
                    yield chunk
                return
            except FAILURES as error:
                if self._has_come or self._ending is not None or self._is_late:
                    raise
                self._release()
                self._elsewhere(error)

    def _elsewhere(self, error: Exception) -> None:
        """Ask again after a failure: the same server where only an old connection was gone, else another."""
        server, exchange = self._server, self._exchange
        assert server is not None and exchange is not None
        if isinstance(error, _Refused):
            self._open(error.error)
        elif exchange.is_reused and server.is_up and not isinstance(error, TimeoutError):
            self._open(again=server)
        else:
            server.fail(f"it broke off a request: {error or type(error).__name__}")
            lost = UpstreamUnavailable(f"the engine elsewhere broke off the request ({server.url})", retry_after_s=2)
            self._open(lost)

    def _objects(self, exchange: Exchange, server: Server) -> Iterator[dict[str, Any]]:
        response = exchange.response(self._patience_s)
        if response.status != 200:
            raise _refusal(response, server)
        if "event-stream" not in (response.getheader("Content-Type") or ""):
            yield _object(response.read())
            return
        for line in exchange.lines():
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                exchange.wait_at_most(END_S)
                continue
            server.heard_at = time.monotonic()
            yield _object(data)
            exchange.wait_at_most(self._patience_s)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _complete(self) -> Event:
        reason = self._reader.reason
        if reason is None:
            error = GenerationFailed("the engine elsewhere ended its answer in the middle")
            return Failed(error, self._reader.usage, self._timings())
        if reason == "error":
            return Failed(GenerationFailed("the engine elsewhere gave up"), self._reader.usage, self._timings())
        return self._finished(reason)

    def _broken(self) -> Event:
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


class _Refused(OSError):
    """A server's own refusal, which another may not share."""

    def __init__(self, error: MiniVaultError) -> None:
        super().__init__(error.message)
        self.error = error


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise GenerationFailed("the engine elsewhere sent what is no JSON object")
    return value


def _refusal(response: HTTPResponse, server: Server) -> Exception:
    """What a reply that is no 200 means: the request's own fault is raised as such, a server's as `_Refused`."""
    data, told = b"", None
    with contextlib.suppress(*FAILURES):
        data = response.read(1 << 16)
    try:
        told = json.loads(data)
    except ValueError:
        told = data.decode("utf-8", "replace")
    message, status = message_of(told), response.status
    if status in TRY_ELSEWHERE:
        return _Refused(_servers_own(status, message, response, server))
    says = f"the engine that answers here refuses this: {message}"
    if any(words in message.lower() for words in TOO_LONG):
        return ContextExceeded(says, field="prompt")
    return BadRequest(says)


def _servers_own(status: int, message: str, response: HTTPResponse, server: Server) -> MiniVaultError:
    if status in (401, 403):
        refused = f"the engine at {server.url} refuses the key of MINIVAULT_UPSTREAM_KEY_FILE: {message}"
        return UpstreamUnavailable(refused, retry_after_s=60)
    if status == 404:
        return ModelNotFound(f"the engine elsewhere knows no such model: {message}", field="model")
    if status in (429, 503):
        after = response.getheader("Retry-After") or ""
        return Overloaded(
            f"the engine elsewhere is busy: {message}", retry_after_s=int(after) if after.isdigit() else 2
        )
    return GenerationFailed(f"the engine elsewhere failed with {status}: {message}")
