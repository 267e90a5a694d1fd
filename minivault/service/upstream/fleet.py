"""All engines elsewhere of one process: who is up, who serves what, and who is asked next.

The same beginning of a prompt goes to the same server, whose cache may hold it: servers are ranked by rendezvous
hashing of the first characters, and one that has much more to do than the others is passed over (consistent hashing
with bounded loads). Each process counts its own load.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from minivault.config import Settings
from minivault.errors import Draining, Overloaded
from minivault.service.engine_loop import LOOK_S, Generation
from minivault.service.engine_thread import DRAIN_MARGIN_S
from minivault.service.upstream.server import Server
from minivault.types import FinishReason

log = logging.getLogger("minivault.service")

PREFIX_CHARACTERS = 1024
"""How much of a prompt decides which server is asked."""
LOAD_FACTOR = 1.25
"""How much more than its share a server may have to do before another is asked."""
LOOK_AGAIN_S = 2.0
LOOK_AGAIN_DOWN_S = 0.5


class Fleet:
    """The servers of `MINIVAULT_UPSTREAM_URL`, and every answer that is under way. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key_file = Path(settings.upstream_key_file) if settings.upstream_key_file else None
        timeout_s = settings.upstream_timeout_s
        self.servers = [Server(url, self._read_key, timeout_s) for url in settings.upstream_urls]
        self._lock = threading.Lock()
        self._live: dict[str, tuple[Generation, str]] = {}
        self._threads = list[threading.Thread]()
        self._is_closing = threading.Event()
        self._has_looked = threading.Event()
        self._drain_deadline: float | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self, is_stopping: Callable[[], bool], on_known: Callable[[], None]) -> None:
        """Begin to watch the servers; idempotent. `on_known` is called once it is known of each how it is."""
        with self._lock:
            if self._threads or self._is_closing.is_set():
                return
            first = [threading.Event() for _ in self.servers]
            self._threads = [
                threading.Thread(target=self._watch, args=one, name=f"minivault-upstream-{number}", daemon=True)
                for number, one in enumerate(zip(self.servers, first, strict=True))
            ]
            rest = (first, is_stopping, on_known)
            self._threads.append(threading.Thread(target=self._mind, args=rest, name="minivault-upstream", daemon=True))
        for thread in self._threads:
            thread.start()

    def wait_known(self, timeout_s: float | None) -> None:
        """Block until every server has been looked at."""
        self._has_looked.wait(timeout_s)

    @property
    def is_known(self) -> bool:
        return self._has_looked.is_set()

    @property
    def is_draining(self) -> bool:
        return self._drain_deadline is not None

    def num_live_of(self, name: str) -> int:
        """Answers of one model that are under way."""
        with self._lock:
            return sum(model == name for _, model in self._live.values())

    def close(self, timeout_s: float) -> None:
        """End every answer with `shutdown`, and stop watching."""
        self._is_closing.set()
        self.cancel_all("shutdown")
        for server in self.servers:
            server.close()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # -- who serves -----------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The models to serve: those that the settings name, else all that any server has listed, in their order."""
        wanted = [name.strip() for name in self._settings.upstream_models.split(",") if name.strip()]
        return wanted or list(dict.fromkeys(name for server in self.servers for name in server.entries))

    def serving(self, name: str, *, also_down: bool = False) -> list[Server]:
        """The servers that list a model, or, where none does, all that list none: such a server takes what it gets."""
        there = [server for server in self.servers if server.is_up or (also_down and server.entries)]
        listing = [server for server in there if name in server.entries]
        found = listing or [server for server in there if server.is_up]
        return [server for server in found if server.kind == found[0].kind]

    def choose(self, name: str, prefix: str, tried: Collection[Server] = ()) -> Server | None:
        """The server to ask next; None where there is none that was not tried."""
        free = [server for server in self.serving(name) if server not in tried]
        return chosen(free, prefix)

    @property
    def reasons(self) -> str:
        """Why nobody answers."""
        return "; ".join(f"{server.url}: {server.reason}" for server in self.servers if not server.is_up)

    # -- what is under way ----------------------------------------------------------------------------------------

    def admit(self, generation: Generation, name: str) -> None:
        """Count an answer of a model. Raises Draining, or Overloaded when every place is taken."""
        capacity = self._settings.max_running + self._settings.max_waiting
        with self._lock:
            if self.is_draining:
                raise Draining("the server is stopping", retry_after_s=5)
            if len(self._live) >= capacity:
                raise Overloaded("every place is taken; try again shortly", retry_after_s=1)
            self._live[generation.job.id] = generation, name

    def forget(self, generation: Generation) -> None:
        with self._lock:
            self._live.pop(generation.job.id, None)

    def cancel_all(self, reason: FinishReason) -> None:
        with self._lock:
            live = list(self._live.values())
        for generation, _ in live:
            generation.cancel(reason)

    # -- threads --------------------------------------------------------------------------------------------------

    def _watch(self, server: Server, has_looked: threading.Event) -> None:
        while not self._is_closing.is_set():
            server.look()
            has_looked.set()
            self._is_closing.wait(LOOK_AGAIN_S if server.is_up else LOOK_AGAIN_DOWN_S)

    def _mind(
        self, first: Sequence[threading.Event], is_stopping: Callable[[], bool], on_known: Callable[[], None]
    ) -> None:
        """Until all is known; then until the worker stops, whose answers end before its grace period does."""
        while not self._is_closing.wait(LOOK_S):
            if not self.is_known and (all(one.is_set() for one in first) or any(one.is_up for one in self.servers)):
                self._has_looked.set()
                on_known()
            if is_stopping() and self._drain_deadline is None:
                grace = self._settings.graceful_timeout_s
                self._drain_deadline = time.monotonic() + max(grace - DRAIN_MARGIN_S, grace / 2)
            if self._drain_deadline is not None and time.monotonic() >= self._drain_deadline:
                self.cancel_all("shutdown")

    def _read_key(self) -> str:
        if self._key_file is None:
            return ""
        try:
            return self._key_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            log.error("MINIVAULT_UPSTREAM_KEY_FILE cannot be read: %s", error)
            return ""


def chosen(servers: Sequence[Server], prefix: str) -> Server | None:
    """The highest in rank for this beginning of a prompt that has no more to do than its share allows."""
    if not servers:
        return None
    start = prefix[:PREFIX_CHARACTERS].encode("utf-8", "surrogatepass")
    ranked = sorted(servers, key=lambda server: _rank(server.url, start), reverse=True)
    total = sum(server.num_live for server in servers)
    most = math.ceil(LOAD_FACTOR * (total + 1) / len(servers))
    return next((server for server in ranked if server.num_live < most), ranked[0])


def _rank(url: str, start: bytes) -> bytes:
    return hashlib.blake2b(url.encode() + b"\0" + start, digest_size=8).digest()
