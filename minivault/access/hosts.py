"""Which host names and web origins may reach this server: pure decisions on header values.

A page in a browser can be made to call a server on the reader's own machine, by naming its address (cross-site request)
or by pointing its own name at that address (DNS rebinding). The second shows in `Host`, the first in `Origin` and
`Sec-Fetch-Site`. An address literal in `Host` cannot be rebound: only names can.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from minivault.config import Settings
from minivault.errors import BadRequest, ConfigError, Forbidden

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", re.ASCII)
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_WILDCARDS = frozenset({"0.0.0.0", "::", "*"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """The names that may stand in `Host`, lower case and without port, besides loopback addresses."""

    names: frozenset[str]
    any_address: bool = False
    """True when bound to all interfaces: every address literal may then be one of ours."""

    @classmethod
    def of(cls, settings: Settings) -> HostPolicy:
        bind = "" if settings.bind.startswith("unix:") else settings.bind.rpartition(":")[0].strip("[]").lower()
        names = {"localhost", bind, *(name.lower() for name in _listed(settings.trusted_hosts))}
        return cls(frozenset(names - {""} - _WILDCARDS), any_address=bind in _WILDCARDS)

    def ensure_allowed(self, header: str | None) -> None:
        """Raise BadRequest unless `header`, the value of `Host`, names this server."""
        if not header:
            raise BadRequest("the request has no Host header", field="Host")
        match = _HOST.fullmatch(header)
        if match is None or not self._is_ours(match[1].strip("[]").rstrip(".").lower()):
            raise BadRequest(
                "this Host is not served here; name it in MINIVAULT_TRUSTED_HOSTS if it should be", field="Host"
            )

    def _is_ours(self, host: str) -> bool:
        if host in self.names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or self.any_address


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """The origins whose pages may call this server, besides its own: of the web (`https://host:port`), of apps and of
    browser extensions (`app://name`, `chrome-extension://id`)."""

    allowed: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> OriginPolicy:
        origins = _listed(settings.allowed_origins)
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"MINIVAULT_ALLOWED_ORIGINS: {origin!r} is not an origin; write https://host, http://host:port, "
                    "or that of an app or extension, like chrome-extension://id",
                    field="MINIVAULT_ALLOWED_ORIGINS",
                )
        return cls(frozenset(map(_normal, origins)))

    def is_listed(self, origin: str | None) -> bool:
        """True for another site that the operator has named."""
        return origin is not None and _normal(origin) in self.allowed

    def ensure_allowed(self, method: str, headers: dict[str, str], own: str) -> None:
        """Raise Forbidden for a call that a page of an unlisted site makes.

        `headers` holds `Origin`, `Sec-Fetch-Site`, `Sec-Fetch-Mode` and `Sec-Fetch-Dest` where sent; `own` is the
        origin of this server as the client addressed it: the scheme, and the value of `Host`.
        """
        origin = headers.get("Origin")
        if self.is_listed(origin):
            return
        if origin is not None and _normal(origin) != _normal(own):
            raise Forbidden(
                "pages of this origin may not call this server; name it in MINIVAULT_ALLOWED_ORIGINS if they should "
                "(and a proxy that takes https must send X-Forwarded-Proto)",
                field="Origin",
            )
        is_elsewhere = headers.get("Sec-Fetch-Site", "none").lower() not in ("none", "same-origin")
        if is_elsewhere and not _is_followed_link(method, headers):
            raise Forbidden("calls from pages of other sites are refused", field="Sec-Fetch-Site")


def _is_followed_link(method: str, headers: dict[str, str]) -> bool:
    """True when a reader goes to this server's page: the other site sees nothing of the answer."""
    is_page = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    return method in _SAFE_METHODS and is_page


def _normal(origin: str) -> str:
    """In lower case, without the port that its scheme implies."""
    origin = origin.lower()
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], " "))


def _listed(setting: str) -> list[str]:
    return [part.strip() for part in setting.split(",") if part.strip()]
