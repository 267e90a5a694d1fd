"""Keeps a process from reaching any other machine, so that "private" is enforced rather than promised.

An audit hook sees every connect, datagram and name lookup that Python code of this process attempts, whichever library
makes it, before the kernel does; it cannot be removed again. Two things it cannot see: sockets of native code, and the
lookup when a name instead of an address is handed to `socket.connect` (the interpreter looks it up before it asks; the
connection is refused then). For both, add a firewall or systemd's `IPAddressDeny` (docs/operations.md).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from minivault.config import Settings

_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_RESOLVE_AGAIN_AFTER_S = 60.0


class OfflineGuard:
    """Decides on audit events. `peers` are the host names or addresses that may be reached nevertheless."""

    def __init__(self, peers: Iterable[str] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._peers = frozenset(peer.strip("[]").lower() for peer in peers)
        self._clock = clock
        self._resolved: frozenset[str] = frozenset()
        self._resolve_at = 0.0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raise PermissionError for an event that would leave this machine."""
        if event in _CONNECTS:
            self._ensure_near(arguments[0], arguments[1])
        elif event in _LOOKUPS:
            self._ensure_known(arguments[0])

    def _ensure_near(self, sock: socket.socket, address: Any) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
            return
        host = str(address[0])
        if not (is_loopback(host) or host.lower() in self._peers or host in self._peer_addresses()):
            raise _refused(f"a connection to {host} port {address[1]}")

    def _ensure_known(self, host: str | bytes | None) -> None:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if name and not (_is_address(name) or is_loopback(name) or name.lower() in self._peers):
            raise _refused(f"a lookup of {name}")

    def _peer_addresses(self) -> frozenset[str]:
        if self._peers and self._clock() >= self._resolve_at:
            self._resolve_at = self._clock() + _RESOLVE_AGAIN_AFTER_S
            self._resolved = frozenset(address for peer in self._peers for address in _addresses(peer))
        return self._resolved


def install_offline_guard(settings: Settings) -> bool:
    """Confine this process to its machine, for good, unless MINIVAULT_OFFLINE is off; True when it is confined.

    The hosts of `MINIVAULT_RATE_STORAGE`, `MINIVAULT_OTEL_ENDPOINT` and, where they answer, `MINIVAULT_UPSTREAM_URL`
    stay reachable.
    """
    if settings.offline:
        sys.addaudithook(OfflineGuard(allowed_peers(settings)))
    return settings.offline


def allowed_peers(settings: Settings) -> list[str]:
    """The other machines that the settings name."""
    urls = [
        settings.rate_storage,
        settings.otel_endpoint,
        *(settings.upstream_urls if settings.backend == "upstream" else ()),
    ]
    return [host for url in urls if (host := urlsplit(url).hostname)]


def _refused(what: str) -> PermissionError:
    return PermissionError(errno.EACCES, f"MINIVAULT_OFFLINE=1 refuses {what}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """True for `localhost` and loopback addresses, also IPv4 ones written as IPv6."""
    if host.lower() == "localhost":
        return True
    if not _is_address(host):
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _addresses(host: str) -> list[str]:
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None)]
    except OSError:
        return []
