"""Whose process is at the other end of a connection from this machine, as the kernel says it.

Whoever runs the server may read its vault's files anyway: a page that the same user opens need not ask for a key. Any
other user of this machine, and anyone behind a proxy or a tunnel that somebody else runs, is told nothing by this.
"""

from __future__ import annotations

import ipaddress
import os
import struct
from pathlib import Path

_ESTABLISHED = "01"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
Address = tuple[str, int]


def is_same_user(client: Address, server: Address) -> bool:
    """True when a process of this process's user holds the client's end; False also where that cannot be known."""
    return os.getuid() in {owner_in(text, client, server) for text in _tables()}


def owner_in(table: str, client: Address, server: Address) -> int | None:
    """The user id that a table of the kernel's gives for the socket of `client`, connected to `server`.

    Only a living connection counts: one whose process is gone stands there with user 0.
    """
    ends = {(_written(client, width), _written(server, width)) for width in (4, 16)}
    for line in table.splitlines()[1:]:
        _, local, remote, state, _, _, _, user, _, inode, *_ = line.split()
        if (local, remote) in ends and state == _ESTABLISHED and inode != "0":
            return int(user)
    return None


def _tables() -> list[str]:
    texts = []
    for path in _TABLES:
        try:
            texts.append(path.read_text("ascii"))
        except OSError:  # another system, or IPv6 is off
            continue
    return texts


def _written(address: Address, width: int) -> str:
    """An address as the kernel writes it: words of four bytes as this machine reads them, then the port."""
    host, port = address
    ip = ipaddress.ip_address(host.partition("%")[0])
    if width == 16 and ip.version == 4:
        ip = ipaddress.IPv6Address(f"::ffff:{host}")
    words = struct.unpack(f"={len(ip.packed) // 4}I", ip.packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
