"""HTTP/1.1 to an engine elsewhere: a request goes out at once, its reply is read when somebody wants it.

This is `http.client` and not httpx, for three things that it lets us do: a request is under way before its reply is
waited for, so that several choices run together; whoever wants the end shuts the socket, from any thread and also
while nothing has come yet; and a token costs microseconds. The thread that reads is the one that hands on: what a
client does not read stays in the kernel's buffers, up to the engine. Proxy variables of the environment mean nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

CONNECT_S = 5.0
MAX_IDLE = 64
"""Connections to one server that are kept for the next request."""
MAX_LINE = 32 << 20
PIECE = 1 << 16
FAILURES = (OSError, http.client.HTTPException)
"""What a connection that breaks raises, time limits included."""


class TooLong(http.client.HTTPException):
    """A line of a stream that no answer has."""


class Exchange:
    """One request that was sent, and its reply. One thread reads; `abort` may be called from any."""

    def __init__(self, connection: http.client.HTTPConnection, pool: Pool, *, is_reused: bool) -> None:
        self._connection = connection
        self._pool = pool
        self._socket: socket.socket = connection.sock
        self._response: http.client.HTTPResponse | None = None
        self.is_reused = is_reused
        """The connection may have been closed by the server before it saw the request."""

    def response(self, timeout_s: float | None) -> http.client.HTTPResponse:
        """Wait for the reply's head. Raises one of FAILURES."""
        self.wait_at_most(timeout_s)
        self._response = self._connection.getresponse()
        return self._response

    def wait_at_most(self, timeout_s: float | None) -> None:
        """How long any wait for bytes may take from now on; None: for ever."""
        self._socket.settimeout(timeout_s)

    def lines(self) -> Iterator[bytes]:
        """The lines of the reply's body, without their ends. Raises one of FAILURES."""
        assert self._response is not None
        held = b""
        while piece := self._response.read1(PIECE):
            *whole, held = (held + piece).split(b"\n")
            yield from whole
            if len(held) > MAX_LINE:
                raise TooLong(f"a line of more than {MAX_LINE} bytes")
        if held:
            yield held

    def abort(self) -> None:
        """End it now: who waits for its bytes is woken. Safe at any time."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back where all was read, else close it; idempotent."""
        connection, response = self._connection, self._response
        if response is not None and response.isclosed() and not response.will_close:
            self._pool.keep(connection)
        else:
            connection.close()


class Pool:
    """Connections to one server, made as needed and kept while idle. Thread-safe."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        self._make = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if is_tls else 80)
        self.path = parts.path.rstrip("/")
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float = CONNECT_S,
        *,
        is_fresh: bool = False,
    ) -> Exchange:
        """Send a request for an absolute path. `is_fresh`: over a new connection. Raises one of FAILURES."""
        connection = None if is_fresh else self._take()
        is_reused = connection is not None
        if connection is None:
            connection = self._make(self._host, self._port, timeout=timeout_s)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
        except BaseException:
            connection.close()
            raise
        return Exchange(connection, self, is_reused=is_reused)

    def keep(self, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose reply has been read for the next request."""
        with self._lock:
            if not self._is_closed and len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle, and whatever comes back later."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _take(self) -> http.client.HTTPConnection | None:
        """An idle connection that is still open, the last used first."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or _is_quiet(connection.sock):
                return connection
            connection.close()


def _is_quiet(sock: socket.socket | None) -> bool:
    """Whether nothing has come on an idle connection: neither its end nor bytes that nobody asked for."""
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP)
    return not poll.poll(0)
