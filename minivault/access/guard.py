"""The one place where a request is let in: host, origin, key, role, rate, in this order, before any route runs.

Deny by default: the guard stands before routing errors and every present and future route, and `roles.PUBLIC_RULES`
alone pass without a key once a key exists. It raises errors from our tree and renders nothing but a CORS preflight;
whoever handles errors gives them the dialect's shape.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from flask import Flask, Response, g, request

from minivault.access.behalf import ON_BEHALF, Behalf
from minivault.access.caller import Caller, Meter
from minivault.access.hosts import HostPolicy, OriginPolicy
from minivault.access.keyring import Keyring
from minivault.access.offline import is_loopback
from minivault.access.quota import rate_headers
from minivault.access.rates import Rates
from minivault.access.roles import PUBLIC_RULES, UNCOUNTED_RULES, roles_for
from minivault.config import Settings
from minivault.errors import Forbidden, Unauthorized

_log = logging.getLogger(__name__)
_BROWSER_FIELDS = ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
_PROXY_KEYS = frozenset(
    {"HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_REAL_IP", "HTTP_VIA"}
)
_EXPOSED_FIELDS = (
    "X-Request-Id, Request-Id, X-Trace-Id, MiniVault-Noted, MiniVault-Truncated, MiniVault-Receipt, "
    "Retry-After, RateLimit, RateLimit-Policy"
)
_PREFLIGHT_SECONDS = "600"
_KEY_HEADERS = ("Authorization",)
NOT_SERVED = (503, 529)
"""The statuses, whatever the dialect, of what a client is to try again later."""

KeyHeaders = Mapping[str, Sequence[str]]
"""For the blueprint of each dialect the headers that may hold a key. Its routes are for users."""

OnAuthFailure = Callable[[str, str], None]
"""Called with the client's address and a reason for each failed key check that was not refused by its own limit."""


class Guard:
    """Admits or refuses requests of one app. Files and storages are opened at first use, so after any fork."""

    def __init__(
        self, settings: Settings, meter: Meter, key_headers: KeyHeaders, on_auth_failure: OnAuthFailure
    ) -> None:
        self.meter = meter
        self._key_headers = key_headers
        self._hosts = HostPolicy.of(settings)
        self._origins = OriginPolicy.of(settings)
        self._keyring = Keyring(settings.keys_file)
        self._on_auth_failure = on_auth_failure
        self._is_loopback_bind = settings.is_loopback

    def admit(self) -> Response | None:
        """Let the current request through, or raise; a preflight of a listed origin is answered here."""
        self._hosts.ensure_allowed(request.environ.get("HTTP_HOST"))
        headers = {name: request.headers[name] for name in _BROWSER_FIELDS if name in request.headers}
        own = f"{request.environ['wsgi.url_scheme']}://{request.environ['HTTP_HOST']}"
        self._origins.ensure_allowed(request.method, headers, own)
        if self._is_preflight():
            return Response(status=204)
        rule = request.url_rule.rule if request.url_rule is not None else None  # None: nothing to protect but the error
        if rule in PUBLIC_RULES:
            return None
        caller = g.caller = self._authenticate()
        self._ensure_role(caller, rule)
        if rule not in UNCOUNTED_RULES:
            g.rate_window = self.meter.count_request(caller)
        return None

    def annotate(self, response: Response) -> Response:
        """Add what the guard knows to the reply: rate-limit fields, a browser's challenge, CORS for listed origins."""
        if response.status_code in NOT_SERVED:
            self._uncount()
        window = g.get("rate_window")
        if window is not None:
            for name, value in rate_headers([window], time.time()).items():
                response.headers.setdefault(name, value)
        if response.status_code == 401 and "text/html" in request.accept_mimetypes.values():
            response.headers.add("WWW-Authenticate", 'Basic realm="minivault: any name, the key as password"')
        if self._origins.allowed:
            response.vary.add("Origin")
            if self._origins.is_listed(request.headers.get("Origin")):
                self._share(response)
        return response

    def settle(self, error: BaseException | None) -> None:
        """A request that ends without a reply, since its body has not come, is begun again and counted then."""
        if error is not None and not isinstance(error, Exception):
            self._uncount()

    def _uncount(self) -> None:
        """Take the request's count back: nothing was served."""
        window = g.pop("rate_window", None)
        if window is not None:
            g.rate_window = self.meter.uncount_request(g.caller, window)

    def _authenticate(self) -> Caller:
        behalf = request.environ.get(ON_BEHALF)
        if behalf is not None:
            return self._owner(behalf)
        client = request.remote_addr or ""
        if not self._keyring.is_locked and self._is_near(client):
            return self.meter.caller(None, client)
        token = self._token()
        key = self._keyring.find(token)
        if key is None:
            self._refuse_key(client, "no valid key" if token else "no key")
        return self.meter.caller(key, client)

    def _owner(self, behalf: Behalf) -> Caller:
        """Whose request the server makes, while that one would be let in."""
        key = None if behalf.key_id is None else self._keyring.named(behalf.key_id)
        if key is None and (behalf.key_id is not None or self._keyring.is_locked):
            raise Unauthorized("the key that this was asked with is valid no more")
        return self.meter.caller(key, behalf.client)

    def _token(self) -> str:
        """The first token in the headers that may hold one on the route that matched; empty without any."""
        names = self._key_headers.get(request.blueprint or "", _KEY_HEADERS)
        tokens = [_token(name, request.headers.get(name, "")) for name in names]
        return next(filter(None, tokens), "")

    def _is_near(self, client: str) -> bool:
        """True for a caller on this machine. Without a key nobody else is let in, whatever the server is bound to.

        A proxy on this machine is near, but those it speaks for need not be.
        """
        return (
            self._is_loopback_bind and _PROXY_KEYS.isdisjoint(request.environ) and (not client or is_loopback(client))
        )

    def _refuse_key(self, client: str, reason: str) -> NoReturn:
        # Counted only for failures: whoever shares an address (a proxy, a class room) with a guesser keeps access.
        self.meter.count_auth_failure(client)
        _log.warning("refused a request from %s: %s", client or "a local socket", reason)
        self._on_auth_failure(client, reason)
        raise Unauthorized("a valid key is needed: send the header `Authorization: Bearer mv_...`")

    def _ensure_role(self, caller: Caller, rule: str | None) -> None:
        is_dialect = request.blueprint in self._key_headers
        roles = () if rule is None else roles_for(rule, request.method, is_dialect=is_dialect)
        if rule is not None and caller.role not in roles:
            raise Forbidden(
                f"a key of role {caller.role!r} may not do this: it takes one of {' or '.join(sorted(roles))}"
            )

    def _is_preflight(self) -> bool:
        is_asking = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return is_asking and self._origins.is_listed(request.headers.get("Origin"))

    def _share(self, response: Response) -> None:
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED_FIELDS
        if self._is_preflight():
            response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, DELETE"
            asked = request.headers.get("Access-Control-Request-Headers", "")
            response.headers["Access-Control-Allow-Headers"] = asked or "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS


def init_app(
    app: Flask,
    settings: Settings,
    *,
    key_headers: KeyHeaders,
    on_auth_failure: OnAuthFailure,
    on_storage_failure: Callable[[], None],
) -> None:
    """Put a guard in front of every route of `app`. The callbacks hear of failed key checks and of failures of the
    limits' storage.

    Raises ConfigError for a setting that is no limit, origin or storage.
    """
    meter = Meter(settings, Rates.of(settings, on_failure=on_storage_failure))
    guard = Guard(settings, meter, key_headers, on_auth_failure)
    app.extensions["minivault_guard"] = guard
    app.before_request(guard.admit)
    app.after_request(guard.annotate)
    app.teardown_request(guard.settle)


def _token(name: str, header: str) -> str:
    """The token of `Authorization: Bearer TOKEN`, or the password of `Basic`; empty for anything else. Any other header
    holds nothing but its token.

    Basic is for browsers, which can send nothing else before they have loaded a page.
    """
    if name != "Authorization":
        return header.strip()
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
