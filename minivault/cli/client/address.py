"""Where a server listens, as the command line is told it: a URL, `host:port` or `unix:PATH`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from minivault.config import LOOPBACK_HOSTS
from minivault.errors import ConfigError

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address: `base_url` without a trailing slash, and the socket's path for a unix socket."""

    base_url: str
    socket: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.base_url

    @property
    def is_loopback(self) -> bool:
        """True when talking to it never leaves this machine."""
        host = urlsplit(self.base_url).hostname or ""
        return self.socket is not None or host in LOOPBACK_HOSTS or host.startswith("127.")


def parse_address(text: str) -> Address:
    """The address in `text`; raises ConfigError when it is none."""
    if text.startswith("unix:"):
        return Address("http://localhost", text.removeprefix("unix:"))
    parts = _split(text if "://" in text else f"http://{text}")
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{text!r} is no server address: give http://HOST:PORT, HOST:PORT or unix:PATH", field="url")
    if "@" in parts.netloc:
        raise ConfigError("a server address holds no password: put the key in MINIVAULT_API_KEY", field="url")
    return Address(f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/"))


def bound_address(bind: str) -> Address | None:
    """Where a server bound to `bind` can be reached from this machine; None when the port is chosen at start."""
    if bind.startswith("unix:"):
        return parse_address(bind)
    host, _, port = bind.rpartition(":")
    return None if int(port) == 0 else Address(f"http://{_ANY_HOST.get(host, _bracketed(host))}:{port}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 and url.isascii() and not any(map(str.isspace, url)) else None
    except ValueError:
        return None
