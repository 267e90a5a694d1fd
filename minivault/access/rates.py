"""Limits per window: how many requests, tokens and failed key checks one key or client may have.

What is counted and where comes from `limits`: its fixed windows over its storages, with our SQLite file as the default.
When the storage fails, counting goes on in this process's memory and the storage is tried again a second later: a limit
then holds per worker instead of per machine, nobody is refused for it, and `on_failure` hears of each failure.

`limits` is used directly, not through Flask-Limiter: that one builds its storage in the application factory (before
gunicorn forks), cannot limit what has no route, and knows neither tokens nor failed keys nor the `RateLimit` fields.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast

from limits import RateLimitItem, parse
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from minivault.access.storage import MEMORY, SqliteStorage, embedded_uri
from minivault.config import Settings
from minivault.errors import ConfigError

Unit = Literal["requests", "tokens", "auth-failures", "generations"]
_RETRY_STORAGE_AFTER_S = 1.0
_SCHEMES = frozenset({"minivault", "redis", "rediss", "redis+unix"})
_STORAGE_FIELD = "MINIVAULT_RATE_STORAGE"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Window:
    """Where one key or client stands in one limit. `reset_at` is Unix seconds, the rest counts and seconds."""

    unit: Unit
    limit: int
    remaining: int
    window_s: int
    reset_at: float
    is_exceeded: bool = False


@lru_cache(maxsize=1024)
def parse_limit(text: str) -> RateLimitItem | None:
    """`"600/minute"` as a limit, `""` as None. Raises ConfigError when it is neither."""
    if not text.strip():
        return None
    try:
        item = parse(text)
    except ValueError:
        item = None
    if item is None or item.amount < 1:
        raise ConfigError(f"{text!r} is not a limit; write for example 600/minute, 100000/day or 5/second")
    return item


class Rates:
    """Counts against limits in the storage that `storage_uri` names (`embedded`, or one that `limits` knows)."""

    def __init__(
        self,
        storage_uri: str,
        run_dir: Path,
        *,
        clock: Callable[[], float] = time.time,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._uri = embedded_uri(run_dir) if storage_uri == "embedded" else storage_uri
        _ensure_known(self._uri)
        self._clock = clock
        self._lock = threading.Lock()
        self._shared: FixedWindowRateLimiter | None = None
        self._own = FixedWindowRateLimiter(SqliteStorage(MEMORY, clock=clock))
        self._retry_at = -math.inf
        self.note_failure = on_failure
        """Called whenever the storage has failed."""

    @classmethod
    def of(cls, settings: Settings, *, on_failure: Callable[[], None] = lambda: None) -> Rates:
        """A server's counts, by its settings. Raises ConfigError for a storage that is none."""
        return cls(settings.rate_storage, settings.run_dir, on_failure=on_failure)

    @property
    def is_shared(self) -> bool:
        """False while the storage has failed and counts are this process's own."""
        return self._retry_at == -math.inf

    def hit(self, unit: Unit, item: RateLimitItem, who: str, cost: int = 1) -> Window:
        """Count `cost` and say where `who` stands after it; exact between all processes that share the storage."""
        return self._with_storage(_count, unit, item, who, cost)

    def peek(self, unit: Unit, item: RateLimitItem, who: str) -> Window:
        """Where `who` stands, without counting; exceeded when not even one more fits."""
        return self._with_storage(_look, unit, item, who, 0)

    def take_back(self, unit: Unit, item: RateLimitItem, who: str, window: Window) -> Window:
        """Undo a hit of one that led to `window`, unless that has ended; where `who` stands after it."""
        return self._with_storage(partial(_take_back, ends_at=window.reset_at), unit, item, who, 1)

    def close(self) -> None:
        """Release the storage's files."""
        for limiter in (self._shared, self._own):
            if limiter is not None and isinstance(limiter.storage, SqliteStorage):
                limiter.storage.close()

    def _with_storage(self, action: _Action, unit: Unit, item: RateLimitItem, who: str, cost: int) -> Window:
        if self._retry_at == -math.inf or self._may_probe():
            try:
                window = action(self._shared or self._open(), unit, item, who, cost)
                self._retry_at = -math.inf
                return window
            except self._errors() as error:
                self._note(error)
        return action(self._own, unit, item, who, cost)

    def _may_probe(self) -> bool:
        """True for one caller in each interval: only that one waits for a storage that may still not work."""
        with self._lock:
            is_due = time.monotonic() >= self._retry_at
            if is_due:
                self._retry_at = time.monotonic() + _RETRY_STORAGE_AFTER_S
            return is_due

    def _open(self) -> FixedWindowRateLimiter:
        with self._lock:
            self._shared = self._shared or FixedWindowRateLimiter(_storage(self._uri, self._clock))
            return self._shared

    def _errors(self) -> tuple[type[Exception], ...]:
        if self._shared is None:
            return (OSError,)
        errors = self._shared.storage.base_exceptions
        return (*errors, OSError) if isinstance(errors, tuple) else (errors, OSError)

    def _note(self, error: Exception) -> None:
        if self.is_shared:
            _log.warning("rate limits are per worker until their storage works again: %s", type(error).__name__)
        self.note_failure()
        self._retry_at = time.monotonic() + _RETRY_STORAGE_AFTER_S


def _count(limiter: FixedWindowRateLimiter, unit: Unit, item: RateLimitItem, who: str, cost: int) -> Window:
    is_admitted = limiter.hit(item, unit, who, cost=cost)
    stats = limiter.get_window_stats(item, unit, who)
    return Window(unit, item.amount, stats.remaining, item.get_expiry(), stats.reset_time, not is_admitted)


def _look(limiter: FixedWindowRateLimiter, unit: Unit, item: RateLimitItem, who: str, _cost: int) -> Window:
    stats = limiter.get_window_stats(item, unit, who)
    return Window(unit, item.amount, stats.remaining, item.get_expiry(), stats.reset_time, stats.remaining < 1)


def _take_back(
    limiter: FixedWindowRateLimiter, unit: Unit, item: RateLimitItem, who: str, cost: int, *, ends_at: float
) -> Window:
    storage, key = limiter.storage, item.key_for(unit, who)
    if isinstance(storage, SqliteStorage):
        storage.decr(key, cost, ends_at)
    elif storage.get(key) >= cost:
        storage.incr(key, item.get_expiry(), -cost)
    return _look(limiter, unit, item, who, cost)


_Action = Callable[[FixedWindowRateLimiter, Unit, RateLimitItem, str, int], Window]


def _ensure_known(uri: str) -> None:
    scheme, mark, _ = uri.partition("://")
    if scheme not in _SCHEMES or (scheme != "minivault" and not mark):
        raise ConfigError(
            f"{_STORAGE_FIELD}: {scheme!r} is no storage; write embedded, or redis://HOST:PORT/DB", field=_STORAGE_FIELD
        )
    if scheme != "minivault" and find_spec("redis") is None:
        raise ConfigError(
            f"{_STORAGE_FIELD} needs the redis package: pip install 'minivault[redis]'", field=_STORAGE_FIELD
        )


def _storage(uri: str, clock: Callable[[], float]) -> Storage:
    if uri.startswith("minivault:"):
        return SqliteStorage(uri, clock=clock)
    return cast(Storage, storage_from_string(uri))
