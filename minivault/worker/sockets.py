"""Time limits on the sockets of clients that neither send nor read.

gunicorn's threads wait without limit for the rest of a header or body, and for a client to read. Linux copies these two
options from a listening socket to each socket that it accepts, so setting them once bounds every connection. They bound
one receive or send, not a whole request: a healthy stream with long pauses is not touched.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Protocol


class _Socket(Protocol):
    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...


def harden_sockets(listeners: Iterable[_Socket], *, receive_s: float, send_s: float) -> None:
    """Give every connection accepted by `listeners` from now on these limits, in seconds for one receive or send."""
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(receive_s))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_s))


def _timeval(seconds: float) -> bytes:
    """`struct timeval` of socket(7): two native longs, seconds and microseconds."""
    whole = int(seconds)
    return struct.pack("ll", whole, round((seconds - whole) * 1_000_000))
