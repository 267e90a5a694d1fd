"""Permits that several machines share, in Redis: each is a lease that its process renews while it holds it.

A process that dies renews nothing, and what it held is free again a lease later; nothing needs repair. While Redis
cannot be reached, permits are counted on this machine alone, and nobody is refused for that; a Redis that has lost its
memory is told again of all that is held with the next renewal.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from minivault.access.permits import Permit, Permits

_log = logging.getLogger(__name__)

LEASE_S = 30.0
PREFIX = "minivault:generations:"
RETRY_AFTER_S = 1.0
TIMEOUT_S = 1.0
_TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1e6
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[3]) + 1)
return 1
"""
_RENEW = """
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] + now[2] / 1e6 + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[2]) + 1)
return 1
"""


class Leases:
    """At most `limit` permits at once for each holder, over all machines that use the Redis at `uri`; `own` are those
    of this machine, for when it cannot be reached, and `on_failure` hears of that. Connects at first use, so after a
    fork."""

    def __init__(
        self,
        uri: str,
        own: Permits,
        *,
        lease_s: float = LEASE_S,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.limit = own.limit
        self._uri = uri
        self._own = own
        self._lease_s = lease_s
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        self._redis: Any = None
        self._retry_at = 0.0

    def acquire(self, who: str) -> Permit | None:
        """A permit for `who`, or None when all are taken. Raises OSError when this machine cannot count either."""
        key = PREFIX + hashlib.sha256(who.encode()).hexdigest()[:32]
        token = uuid.uuid4().hex
        if time.monotonic() >= self._retry_at:
            try:
                is_taken = self._connected().eval(_TAKE, 1, key, token, self.limit, self._lease_s)
            except self._errors() as error:
                self._note(error)
            else:
                if not is_taken:
                    return None
                with self._lock:
                    self._held[token] = key
                return Permit(partial(self._give_back, key, token))
        return self._own.acquire(who)

    def _give_back(self, key: str, token: str) -> None:
        with self._lock:
            self._held.pop(token, None)
        try:
            self._connected().zrem(key, token)
        except self._errors() as error:
            self._note(error)  # it runs out by itself

    def _renew(self) -> None:
        """Until the process ends: a third of a lease is left for a Redis that is slow to come back."""
        while True:
            time.sleep(self._lease_s / 3)
            with self._lock:
                held = list(self._held.items())
            try:
                for token, key in held:
                    self._connected().eval(_RENEW, 1, key, token, self._lease_s)
                    if token not in self._held:  # given back in between
                        self._connected().zrem(key, token)
            except self._errors() as error:
                self._note(error)

    def _connected(self) -> Any:
        with self._lock:
            if self._redis is None:
                import redis

                limits = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
                self._redis = redis.Redis.from_url(self._uri, **limits)
                threading.Thread(target=self._renew, name="minivault-leases", daemon=True).start()
            return self._redis

    def _errors(self) -> tuple[type[Exception], ...]:
        import redis

        return (redis.RedisError, OSError)

    def _note(self, error: Exception) -> None:
        if time.monotonic() >= self._retry_at:
            _log.warning("generations at once are counted on this machine alone: %s", type(error).__name__)
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        self._on_failure()
