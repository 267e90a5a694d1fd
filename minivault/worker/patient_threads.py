"""gunicorn's thread worker, except that no thread ever waits for a request's header.

gthread hands a connection to a thread when its first byte arrives, and that thread then waits for the rest as long as
it takes: as many half-sent headers as there are threads stop the server. Here the poller collects the header, which
costs a slow client one file descriptor instead of a thread, and closes a connection whose header has not come in time.
Nothing needs to be known of HTTP for that but its blank line; parsing stays gunicorn's.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import selectors
import time
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from minivault.config import load_settings

MAX_HEADER_BYTES = 64 << 10
MAX_WAITING = 1024
"""Connections whose header is incomplete, per worker; beyond it the longest waiting one is closed."""
LINGER_S = 2.0
"""How long a stopping worker waits for headers that have begun."""
_PAUSE_S = 1.0
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})


class PatientWorker(ThreadWorker):  # type: ignore[misc] # untyped
    """See the module. A connection waits in `pending_conns`, its bytes so far in `conn.head`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timeout_s = load_settings().receive_timeout_s
        num_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max_waiting = MAX_WAITING if num_files == resource.RLIM_INFINITY else min(MAX_WAITING, num_files // 2)
        self._paused_until = 0.0

    def init_process(self) -> None:
        """Start the worker; what clients do wrong is logged in one line, without their words."""
        self.log.error_log.addFilter(_tidy)
        super().init_process()

    @property
    def worker_connections(self) -> int:
        """How many connections may be open at once: those that wait for their header take nobody's place."""
        return 0 if time.monotonic() < self._paused_until else self._places + len(self.pending_conns)

    @worker_connections.setter
    def worker_connections(self, places: int) -> None:
        self._places = places

    def accept(self, listener: Any) -> None:
        """Accept a connection; when files run out, make room and pause instead of failing in a loop."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in _OUT_OF_FILES:
                raise
            self.log.warning("no file descriptor is left for a new connection (raise LimitNOFILE / ulimit -n)")
            self._paused_until = time.monotonic() + _PAUSE_S
            self._drop_oldest()

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread once its header is complete. Called by the main thread alone."""
        conn.head = b"" if conn.parser is None else conn.parser.unreader.take_buffered()
        if not self.cfg.is_ssl and not _is_whole(conn.head):
            conn.head += _already_received(conn.sock)
        if self.cfg.is_ssl or _is_decided(conn.head):
            self._settle(conn)
        else:
            self._await_header(conn)

    def handle(self, conn: Any) -> Any:
        """Serve one request; runs in a thread."""
        conn.sock.setblocking(True)
        if not self.cfg.is_ssl:
            conn.init()
            conn.parser.unreader.unread(conn.head)
        return super().handle(conn)

    def _settle(self, conn: Any) -> None:
        """Give a connection to a thread, or refuse it, on what has come of its header."""
        if self.cfg.is_ssl or _is_whole(conn.head):
            conn.data_ready = True
            super().enqueue_req(conn)
        elif not _may_be_http(conn.head):
            self._refuse(conn, b"400 Bad Request")
        else:
            self._refuse(conn, b"431 Request Header Fields Too Large")

    def _await_header(self, conn: Any) -> None:
        if len(self.pending_conns) >= self._max_waiting:
            self._drop_oldest()
        conn.timeout = time.monotonic() + (self._header_timeout_s if self.alive else LINGER_S)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read_header, conn))

    def _read_header(self, conn: Any, _sock: Any) -> None:
        try:
            data = conn.sock.recv(MAX_HEADER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.head += data
        if data and not _is_decided(conn.head):
            return
        self._stop_waiting(conn)
        if data:
            self._settle(conn)
        else:
            self._close(conn)

    def _stop_waiting(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def _refuse(self, conn: Any, status: bytes) -> None:
        with contextlib.suppress(OSError):
            conn.sock.send(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self._close(conn)

    def _drop_oldest(self) -> None:
        if self.pending_conns:
            conn = self.pending_conns[0]
            self._stop_waiting(conn)
            self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """Shutting down: wait only shortly for requests that have not come."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)


def _already_received(sock: Any) -> bytes:
    """What can be read without waiting: most often the whole request, which saves a round through the poller."""
    sock.setblocking(False)
    try:
        data: bytes = sock.recv(MAX_HEADER_BYTES)
    except OSError:
        return b""
    return data


def _is_decided(head: bytes) -> bool:
    """True when no more of a header is needed to know what to do with it."""
    return _is_whole(head) or not _may_be_http(head) or len(head) > MAX_HEADER_BYTES


def _is_whole(head: bytes) -> bool:
    """True when the header ends, also where it ends wrongly (bare line feeds): a thread will not wait for more."""
    return b"\r\n\r\n" in head or b"\n\n" in head


def _may_be_http(head: bytes) -> bool:
    """False for TLS and other protocols, whose header would never end."""
    return head.lstrip(b"\r\n")[:1].isupper() or not head.strip(b"\r\n")


def _tidy(record: logging.LogRecord) -> bool:
    """Shorten what gunicorn logs of clients: no traceback of a stalled one, no line of a malformed request, which may
    hold a key or a prompt."""
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "closed a connection whose client had stalled", ()
    text = record.getMessage()
    if text.startswith("Invalid request from"):
        record.msg, record.args = text.partition("'")[0].rstrip(" :"), ()
    return True
