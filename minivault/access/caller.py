"""Who is asking, what that one may use, and the meter that counts it.

Everything is counted per key, or per client address where no key is needed. Tokens are charged when a generation has
ended, since nobody knows their number before: a limit is overshot by what was running when it was reached, never more.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from limits import RateLimitItem, RateLimitItemPerDay

from minivault.access.keys import Key
from minivault.access.leases import Leases
from minivault.access.permits import Permit, Permits
from minivault.access.quota import refusal
from minivault.access.rates import Rates, Unit, Window, parse_limit
from minivault.access.roles import Role
from minivault.config import Settings, variable
from minivault.errors import ConfigError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's caller. `key_id` is None where the server needs no key; `client` is the peer's address."""

    key_id: str | None
    role: Role
    client: str
    meter: Meter = field(repr=False, compare=False)
    request_limit: RateLimitItem | None = None
    token_limit: RateLimitItem | None = None

    @property
    def bucket(self) -> str:
        """What limits are counted under."""
        return f"key:{self.key_id}" if self.key_id else f"client:{_network(self.client)}"


class Meter:
    """Counts callers against the server's limits and their keys' own. `clock` gives Unix seconds."""

    def __init__(self, settings: Settings, rates: Rates, *, clock: Callable[[], float] = time.time) -> None:
        self.rates = rates
        self._permits = _permits(settings, rates.note_failure)
        self._request_limit = _limit_of(settings, "rate_limit")
        self._token_limit = _limit_of(settings, "token_limit")
        self._failure_limit = _limit_of(settings, "auth_failure_limit")
        self._clock = clock

    def caller(self, key: Key | None, client: str) -> Caller:
        """The caller that holds `key`, or anyone at `client` on a server that needs no key."""
        if key is None:
            return Caller(None, "admin", client, self, self._request_limit, self._token_limit)
        requests = parse_limit(key.rate) if key.rate is not None else self._request_limit
        tokens = RateLimitItemPerDay(key.tokens_per_day) if key.tokens_per_day is not None else self._token_limit
        return Caller(key.id, key.role, client, self, requests, tokens)

    def count_request(self, caller: Caller) -> Window | None:
        """Count one request. Raises QuotaExceeded when the caller has had them all."""
        return self._count("requests", caller.request_limit, caller.bucket)

    def uncount_request(self, caller: Caller, window: Window) -> Window:
        """Take one request back that was counted into `window`; where the caller stands then."""
        assert caller.request_limit is not None
        return self.rates.take_back("requests", caller.request_limit, caller.bucket, window)

    def count_auth_failure(self, client: str) -> None:
        """Count one failed key check. Raises QuotaExceeded when `client` has failed too often."""
        self._count("auth-failures", self._failure_limit, _network(client))

    def windows(self, caller: Caller) -> list[Window]:
        """Where the caller stands in each limit that there is, without counting."""
        limits: tuple[tuple[Unit, RateLimitItem | None], ...] = (
            ("requests", caller.request_limit),
            ("tokens", caller.token_limit),
        )
        return [self.rates.peek(unit, limit, caller.bucket) for unit, limit in limits if limit is not None]

    def tokens_left(self, caller: Caller) -> Window | None:
        """Where the caller stands with tokens, None without a limit."""
        return self.rates.peek("tokens", caller.token_limit, caller.bucket) if caller.token_limit else None

    def charge(self, caller: Caller, num_tokens: int) -> None:
        """Count tokens that were read and generated for the caller."""
        if caller.token_limit is not None and num_tokens > 0:
            self.rates.hit("tokens", caller.token_limit, caller.bucket, num_tokens)

    def acquire(self, caller: Caller) -> Permit:
        """The right to generate. Raises QuotaExceeded when the tokens are used up or too many generations run."""
        window = self.tokens_left(caller)
        if window is not None and window.is_exceeded:
            raise refusal(window, self._clock())
        if not self._permits.limit:
            return Permit(None)
        try:
            permit = self._permits.acquire(caller.bucket)
        except OSError as error:
            _log.warning("generations at once cannot be counted: %s", type(error).__name__)
            return Permit(None)
        if permit is None:
            raise refusal(Window("generations", self._permits.limit, 0, 0, self._clock() + 1, True), self._clock())
        return permit

    def _count(self, unit: Unit, limit: RateLimitItem | None, who: str) -> Window | None:
        if limit is None:
            return None
        window = self.rates.hit(unit, limit, who)
        if window.is_exceeded:
            raise refusal(window, self._clock())
        return window


def _permits(settings: Settings, on_failure: Callable[[], None]) -> Permits | Leases:
    """Counted where the rates are: on this machine, or in a Redis that several machines share."""
    own = Permits(settings.run_dir / "slots", settings.concurrency_limit)
    is_own = settings.rate_storage == "embedded" or not settings.concurrency_limit
    return own if is_own else Leases(settings.rate_storage, own, on_failure=on_failure)


def generation_permit(caller: Caller) -> Permit:
    """The caller's right to run one generation: a context manager, or call `release` at the end.

    Raises QuotaExceeded when the caller has no tokens left or already runs as many generations as allowed.
    """
    return caller.meter.acquire(caller)


def charge_tokens(caller: Caller, num_tokens: int) -> None:
    """Count the prompt and answer tokens of a generation that ended, however it ended."""
    caller.meter.charge(caller, num_tokens)


def _limit_of(settings: Settings, name: str) -> RateLimitItem | None:
    try:
        return parse_limit(getattr(settings, name))
    except ConfigError as error:
        raise ConfigError(f"{variable(name)}: {error.message}", field=variable(name)) from None


def _network(client: str) -> str:
    """The address, or for IPv6 its /64: one client can choose freely among the addresses of that."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client or "local"
    if address.version == 4:
        return client
    return str(ipaddress.ip_network((address, 64), strict=False))
