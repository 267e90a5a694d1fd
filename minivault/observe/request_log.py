"""One line for each request on the server's stdout: who asked what of which model, how it ended and how fast.

A terminal that does not read (Ctrl-S, a full pipe) holds nobody up: lines wait in a queue for a thread of its own, and
where the queue is full they are left out and counted.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import Literal, TextIO

from minivault.observe.ended import Ended, Refused
from minivault.tracing import trace_id_of

MAX_WAITING = 1000
_CLOSE_S = 1.0

_told: ContextVar[str] = ContextVar("told", default="")
"""The last request of this thread that had a line: an answer that failed has no second one when its error is sent."""


class RequestLog:
    """A watcher (`Watcher`) that writes lines, for people or as JSON objects."""

    def __init__(self, style: Literal["line", "json"], out: TextIO | None = None) -> None:
        self._style = style
        self._out = out or sys.stdout
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._num_left_out = 0
        self._thread = threading.Thread(target=self._write, name="minivault-requests", daemon=True)
        self._thread.start()

    def ended(self, ended: Ended) -> None:
        """Write the line of an answer."""
        _told.set(ended.id)
        self._put(as_json(ended) if self._style == "json" else as_line(ended))

    def refused(self, refused: Refused) -> None:
        """Write the line of a request that had no answer."""
        if refused.id != _told.get():
            self._put(refused_as_json(refused) if self._style == "json" else refused_as_line(refused))

    def close(self) -> None:
        """Write what waits, for a second at most."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=_CLOSE_S)
            self._thread.join(_CLOSE_S)

    def _put(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._num_left_out += 1

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            left_out, self._num_left_out = self._num_left_out, 0
            told = f"{line}\n" if not left_out else f"{line}\n({left_out} lines left out: nobody read them)\n"
            with suppress(OSError, ValueError):
                self._out.write(told)
                self._out.flush()


def as_line(ended: Ended) -> str:
    """`12:47:11Z KEY CLIENT API MODEL STATUS FINISH PROMPT+COMPLETION tokens, first … s, whole … s, ID`."""
    tokens = f"{ended.usage.prompt_tokens}+{ended.usage.completion_tokens} tokens"
    first = ended.timings.get("first_token_ns", 0)
    speed = f"first {first / 1e9:.2f} s, " if first else ""
    whole = f"whole {ended.timings.get('total_ns', 0) / 1e9:.2f} s"
    error = f" {ended.error_code}" if ended.error_code else ""
    end = f"{ended.status} {ended.finish_reason}{error}"
    return f"{_now()} {_who(ended)} {ended.api} {ended.model} {end} {tokens}, {speed}{whole}, {ended.id}"


def as_json(ended: Ended) -> str:
    """The same as an object, with names as records have them."""
    told = {
        "time_ns": ended.began_ns,
        "id": ended.id,
        "key": ended.key,
        "client": ended.client,
        "api": ended.api,
        "stream": ended.is_streamed,
        "model": ended.model,
        "status": ended.status,
        "finish_reason": ended.finish_reason,
        "error": ended.error_code or None,
        "prompt_tokens": ended.usage.prompt_tokens,
        "completion_tokens": ended.usage.completion_tokens,
        "cached_tokens": ended.usage.cached_tokens,
        "first_token_ns": ended.timings.get("first_token_ns") or None,
        "total_ns": ended.timings.get("total_ns"),
        "trace_id": trace_id_of(ended.traceparent) or None,
    }
    return json.dumps({name: value for name, value in told.items() if value is not None})


def refused_as_line(refused: Refused) -> str:
    """`12:47:11Z KEY CLIENT ROUTE refused 400 CODE, ID`."""
    return f"{_now()} {_who(refused)} {refused.route} refused {refused.status} {refused.code}, {refused.id}"


def refused_as_json(refused: Refused) -> str:
    """The same as an object; `error` is the error's code."""
    told = {"time_ns": time.time_ns(), "id": refused.id, "key": refused.key, "client": refused.client}
    told |= {"route": refused.route, "status": "refused", "http_status": refused.status, "error": refused.code}
    return json.dumps({name: value for name, value in told.items() if value is not None})


def _who(one: Ended | Refused) -> str:
    return f"{one.key or '-'} {one.client or '-'}"


def _now() -> str:
    return time.strftime("%H:%M:%SZ", time.gmtime())
