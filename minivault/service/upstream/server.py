"""One engine elsewhere: where it is, whether it lives, what it serves and what is under way there.

It is asked for its models every few seconds. One that refuses, or gives no sign of life for as long as the settings
allow, is down: it is asked nothing new. An answer under way there goes on for as long as it says something, since a
server that is stopping takes no connection and yet finishes what it has begun; one that is silent as well is ended, to
be asked elsewhere or to fail. What a server says of itself is read whenever it comes up.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from minivault.service.upstream.connection import CONNECT_S, FAILURES, Exchange, Pool
from minivault.service.upstream.kinds import GENERIC, Kind, kind_of
from minivault.service.upstream.reading import message_of

log = logging.getLogger("minivault.service")

BASE = "/v1"
MAX_DESCRIPTION = 8 << 20
MAX_REPLY = 512 << 20
NO_LIST = frozenset({404, 405, 500, 501})
"""How servers answer that cannot list models: `transformers serve` does so without a hub cache."""


class Server:
    """`read_key` gives the key that it wants, or nothing. Thread-safe; `look` is called by one thread."""

    def __init__(self, url: str, read_key: Callable[[], str], timeout_s: float) -> None:
        self.url = url
        self.is_up = False
        self.reason = "it has not answered yet"
        """Why it is down."""
        self.kind: Kind = GENERIC
        self.entries: Mapping[str, Mapping[str, Any]] = {}
        """Its models as it lists them, by name."""
        self.described: Mapping[str, Any] = {}
        """What it says of itself."""
        self._pool = Pool(url)
        self._root = urlsplit(url).path.rstrip("/").removesuffix(BASE)
        self._read_key = read_key
        self._timeout_s = timeout_s
        self._heard_at = 0.0
        self._lock = threading.Lock()
        self._exchanges = set[Exchange]()

    @property
    def num_live(self) -> int:
        return len(self._exchanges)

    def send(self, path: str, body: bytes, *, is_fresh: bool = False) -> Exchange:
        """Send a request for a path below the URL; `release` it when done. Raises one of FAILURES."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **self._authorization()}
        exchange = self._pool.send("POST", self._pool.path + path, body, headers, is_fresh=is_fresh)
        with self._lock:
            self._exchanges.add(exchange)
        return exchange

    def release(self, exchange: Exchange) -> None:
        """It is over; idempotent."""
        with self._lock:
            is_ours = exchange in self._exchanges
            self._exchanges.discard(exchange)
            self._heard_at = max(self._heard_at, exchange.heard_at)
        if is_ours:
            exchange.close()

    def look(self) -> None:
        """Ask for its models. Never raises: what is wrong is its `reason`."""
        try:
            status, listed = self._get(self._pool.path + "/models", self._timeout_s)
        except FAILURES as error:
            if isinstance(error, TimeoutError) and time.monotonic() - self._last_heard() < self._timeout_s:
                return  # too busy with answers to say so
            self.fail(_reason(error))
            return
        if status in NO_LIST and self.ask("GET", "/health") is not None:
            listed = {}  # it lives, and serves what the settings name
        elif status != 200:
            self.fail(f"its list of models is refused with {status}: {message_of(listed)}")
            return
        self._come_up(listed)

    def fail(self, reason: str) -> None:
        """It is down, until it answers again: what has been silent for as long as the settings allow is ended."""
        if self.is_up or reason != self.reason:
            log.warning("the engine at %s is down: %s", self.url, reason)
        self.is_up, self.reason = False, reason
        self._abort(self._timeout_s)

    def close(self) -> None:
        """End what is under way, and every connection."""
        self.is_up, self.reason = False, "this process has closed it"
        self._abort(0)
        self._pool.close()

    def _abort(self, silent_s: float) -> None:
        """End what has said nothing for so long: whoever waits for it is woken."""
        with self._lock:
            silent = [exchange for exchange in self._exchanges if exchange.is_silent(silent_s)]
        for exchange in silent:
            exchange.abort()

    def _last_heard(self) -> float:
        """When bytes of any answer last came from it, on the monotonic clock."""
        with self._lock:
            return max(self._heard_at, *(exchange.heard_at for exchange in self._exchanges), 0.0)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What it says, as JSON, at a path below its root; None where it says nothing of the kind."""
        try:
            status, told = self._get(self._root + path, CONNECT_S, method, body)
        except FAILURES:
            return None
        return told if status == 200 else None

    def call(self, path: str, body: Mapping[str, Any], timeout_s: float) -> tuple[int, Any]:
        """The status of a whole reply, and what it says as JSON, or as text. A path that begins with `/v1` is below the
        URL, any other below the server's root. Raises one of FAILURES."""
        at = self._pool.path + path.removeprefix(BASE) if path.startswith(BASE) else self._root + path
        return self._get(at, timeout_s, "POST", body, MAX_REPLY)

    def _come_up(self, listed: Any) -> None:
        data = listed.get("data") if isinstance(listed, dict) else None
        entries = {
            entry["id"]: entry
            for entry in (data if isinstance(data, list) else ())
            if isinstance(entry, dict) and isinstance(entry.get("id"), str)
        }
        if not self.is_up or entries.keys() != self.entries.keys():
            owner = str(next(iter(entries.values()), {}).get("owned_by", ""))
            kind = kind_of(owner, frozenset())
            if kind is GENERIC:
                paths = self.ask("GET", "/openapi.json")
                paths = paths.get("paths") if isinstance(paths, dict) else None
                kind = kind_of(owner, frozenset(paths if isinstance(paths, dict) else ()))
            told = (self.ask("GET", path) for path in kind.about)
            self.described = {name: value for one in told if isinstance(one, dict) for name, value in one.items()}
            self.kind = kind
            log.info("the engine at %s is up (%s): %s", self.url, kind.name, ", ".join(entries) or "it lists no models")
        self.entries, self.reason, self.is_up = entries, "", True

    def _get(
        self, path: str, timeout_s: float, method: str = "GET", body: Any = None, max_bytes: int = MAX_DESCRIPTION
    ) -> tuple[int, Any]:
        headers = {"Accept": "application/json", **self._authorization()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        sent = None if body is None else json.dumps(body).encode()
        exchange = self._pool.send(method, path, sent, headers, min(timeout_s, CONNECT_S), is_fresh=True)
        try:
            response = exchange.response(timeout_s)
            data = response.read(max_bytes)
            try:
                return response.status, json.loads(data)
            except ValueError:
                return response.status, data.decode("utf-8", "replace")
        finally:
            exchange.close(is_last=True)  # these come every few seconds, over fresh connections

    def _authorization(self) -> dict[str, str]:
        key = self._read_key()
        return {"Authorization": f"Bearer {key}"} if key else {}


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it gives no sign of life"
    text = " ".join(str(error).split())
    return text or type(error).__name__
