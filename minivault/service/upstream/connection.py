"""HTTP/1.1 to an engine elsewhere: a request goes out at once, its reply is read when somebody wants it.

This is `http.client` and not httpx, for three things that it lets us do: a request is under way before its reply is
waited for, so that several choices run together; whoever wants the end shuts the socket, from any thread and also
while nothing has come yet; and a token costs microseconds. The thread that reads is the one that hands on: what a
client does not read stays in the kernel's buffers, up to the engine. Proxy variables of the environment mean nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

CONNECT_S = 5.0
MAX_IDLE = 64
"""Connections to one server that are kept for the next request."""
MAX_LINE = 32 << 20
MAX_HEAD = 1 << 16
PIECE = 1 << 16
KEPT_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds after which a silent connection is asked whether its other end is there, between askings, and how many."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;|$)")
FAILURES = (OSError, http.client.HTTPException)
"""What a connection that breaks raises, time limits included."""


class Malformed(http.client.HTTPException):
    """A reply that no engine would send."""


class Chunked:
    """Takes the chunked coding (RFC 9112, section 7.1) off a body, as it comes. `http.client` gives a chunk at a time,
    and so an event at a time, however many have come."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._is_last = False
        self.is_whole = False

    def feed(self, data: bytes) -> bytes:
        """What the next bytes hold of the body. Raises Malformed."""
        data, at, found = self._held + data, 0, []
        while not self.is_whole:
            if self._left:
                piece = data[at : at + self._left]
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            if end > at or self._is_last:  # an empty line is the end of a chunk
                self._read(data[at:end])
            at = end + 2
        self._held = data[at:]
        if len(self._held) > MAX_HEAD:
            raise Malformed(f"a chunk's head of more than {MAX_HEAD} bytes")
        return b"".join(found)

    def _read(self, line: bytes) -> None:
        """A line between the data of two chunks: the size of the next, or what follows the last."""
        if self._is_last:
            self.is_whole = not line
            return
        size = _SIZE.match(line)
        if size is None:
            raise Malformed("a chunk without a size")
        self._left = int(size[1], 16)
        self._is_last = self._left == 0


class Exchange:
    """One request that was sent, and its reply. One thread reads; `abort` may be called from any."""

    def __init__(self, connection: http.client.HTTPConnection, pool: Pool, *, is_reused: bool) -> None:
        self._connection = connection
        self._pool = pool
        self._socket: socket.socket = connection.sock
        self._response: http.client.HTTPResponse | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self.is_reused = is_reused
        """The connection may have been closed by the server before it saw the request."""
        self.heard_at = 0.0
        """When bytes of the reply last came, on the monotonic clock; 0 before the first."""
        self._sent_at = time.monotonic()

    def response(self, timeout_s: float | None) -> http.client.HTTPResponse:
        """Wait for the reply's head. Raises one of FAILURES."""
        self.wait_at_most(timeout_s)
        self._response = self._connection.getresponse()
        self.heard_at = time.monotonic()
        return self._response

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing has come for so long."""
        return time.monotonic() - max(self._sent_at, self.heard_at) >= seconds

    def wait_at_most(self, timeout_s: float | None) -> None:
        """How long any wait for bytes may take from now on; None: for ever."""
        self._socket.settimeout(timeout_s)

    def lines(self) -> Iterator[list[bytes]]:
        """The lines of the reply's body without their ends, those together that have come together. Raises one of
        FAILURES."""
        held, num_held = list[bytes](), 0  # pieces of a line, joined once: a long one comes in hundreds
        for piece in self._pieces():
            self.heard_at = time.monotonic()
            begun, *more = piece.split(b"\n")
            held.append(begun)
            num_held += len(begun)
            if more:
                yield [b"".join(held), *more[:-1]]
                held, num_held = [more[-1]], len(more[-1])
            if num_held > MAX_LINE:
                raise Malformed(f"a line of more than {MAX_LINE} bytes")
        if num_held:
            yield [b"".join(held)]

    def _pieces(self) -> Iterator[bytes]:
        response = self._response
        assert response is not None
        if not response.chunked:
            while piece := response.read1(PIECE):
                yield piece
            return
        body = Chunked()
        while not body.is_whole:
            piece = response.fp.read1(PIECE)
            if not piece:
                raise http.client.IncompleteRead(b"")
            yield body.feed(piece)
        response.close()

    def abort(self) -> None:
        """End it now: who waits for its bytes is woken. Safe at any time; nothing happens once it is closed, when its
        connection may be another's."""
        with self._lock, contextlib.suppress(OSError):
            if not self._is_closed:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self, *, is_last: bool = False) -> None:
        """Give the connection back where all was read, else close it; idempotent. `is_last`: close it anyhow."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        connection, response = self._connection, self._response
        if response is not None and response.isclosed() and not (response.will_close or is_last):
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
        kept = None if is_fresh else self._take()
        connection = kept or self._connect(timeout_s)
        connection.sock.settimeout(timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
        except BaseException as error:
            connection.close()
            if kept is None or not isinstance(error, FAILURES):
                raise
            return self.send(method, path, body, headers, timeout_s, is_fresh=True)  # it went while nobody looked
        return Exchange(connection, self, is_reused=kept is not None)

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

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        connection = self._make(self._host, self._port, timeout=timeout_s)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEPT_ALIVE.items():
            connection.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return connection

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
