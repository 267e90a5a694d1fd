"""gunicorn's thread worker, except that no thread ever waits for a client to send.

gthread hands a connection to a thread when its first byte arrives, and that thread then waits for the rest as long as
it takes: as many half-sent requests as there are threads stop the server, and a client that never closes stops its main
loop. Here the poller collects the header and the body, which costs a slow client one file descriptor and bounded memory
instead of a thread. A body that does not come right behind its header is collected only once the application, which has
seen the header, has asked for it; whoever is refused before that gets the answer at once, and the rest is not read.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import selectors
import socket
import time
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from minivault.config import load_settings
from minivault.worker.body import BodyPending
from minivault.worker.readiness import Readiness, Standing
from minivault.worker.reception import Patience, Reception

MAX_WAITING = 1024
"""Connections whose request is incomplete, per worker; beyond it the longest waiting one is closed."""
MAX_WAITING_BYTES = 64 << 20
"""Of what they have sent, or four of the largest bodies where that is more."""
PIECE_BYTES = 64 << 10
LINGER_S = 2.0
"""How long a stopping worker waits for requests that have begun, and any worker for clients to close."""
LINGER_BYTES = 64 << 10
CHECK_EVERY_S = 0.1
_PAUSE_S = 1.0
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASKED_FOR_BODY = object()


class PatientWorker(ThreadWorker):  # type: ignore[misc] # untyped
    """See the module. Connections that wait for their client are in `pending_conns`; what each has sent of a request
    is in `conn.reception`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = Patience.of(load_settings())
        num_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max_waiting = MAX_WAITING if num_files == resource.RLIM_INFINITY else min(MAX_WAITING, num_files // 2)
        self._max_bytes = max(MAX_WAITING_BYTES, 4 * self._patience.max_body_bytes)
        self._num_bytes = 0
        self.standing = Standing(Readiness(), self.age, lambda: True)
        """Whether this worker can serve, and others can; whoever forks it gives it one that is shared with them."""
        self._paused_until = 0.0
        self._next_check = 0.0

    def init_process(self) -> None:
        """Start the worker; what clients do wrong is logged in one line, without their words."""
        self.log.error_log.addFilter(_tidy)
        super().init_process()

    @property
    def worker_connections(self) -> int:
        """How many connections may be open at once: those that wait for their client take nobody's place; none where
        another worker can serve and this one cannot."""
        if time.monotonic() < self._paused_until or not self.standing.may_accept:
            return 0
        return self._places + len(self.pending_conns)

    @worker_connections.setter
    def worker_connections(self, places: int) -> None:
        self._places = places

    # -- a request comes ------------------------------------------------------------------------------------------

    def accept(self, listener: Any) -> None:
        """Accept a connection; when files run out, make room and pause instead of failing in a loop."""
        if not self.standing.may_accept:
            return  # another worker became ready while this one was waiting
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in _OUT_OF_FILES:
                raise
            self.log.warning("no file descriptor is left for a new connection (raise LimitNOFILE / ulimit -n)")
            self._paused_until = time.monotonic() + _PAUSE_S
            self._drop_oldest()

    def enqueue_req(self, conn: Any) -> None:
        """Begin to collect a request. Called by the main thread, like everything here but `handle`."""
        if self.cfg.is_ssl:
            conn.data_ready = True
            super().enqueue_req(conn)
            return
        before, now = conn.parser, time.monotonic()
        number = 1 if before is None else before.number + 1
        conn.parser = conn.reception = Reception(self.cfg, conn.client, self._patience, now, number)
        conn.ends_at = None
        self._take(conn, b"" if before is None else before.unreader.take_buffered())
        if conn.reception.phase == "header":
            conn.sock.setblocking(False)
            self._take(conn, _receive(conn.sock) or b"")  # often the whole request: a round through the poller less
        self._proceed(conn)

    def _take(self, conn: Any, data: bytes) -> None:
        before = conn.reception.num_bytes
        conn.reception.feed(data, time.monotonic())
        self._num_bytes += conn.reception.num_bytes - before

    def _proceed(self, conn: Any) -> None:
        """Do what has come of a request allows: wait for more, refuse it, or give it to a thread."""
        if conn.reception.is_waiting:
            self._wait(conn, self._read)
        elif conn.reception.refusal:
            self._refuse(conn, conn.reception.refusal)
        else:
            self._hand_over(conn)

    def _hand_over(self, conn: Any) -> None:
        conn.data_ready = True
        conn.reception.begin(may_keep=self.standing.is_ready)
        super().enqueue_req(conn)

    def _read(self, conn: Any, _sock: Any) -> None:
        """A client that was waited for has sent something, or has gone."""
        data = _receive(conn.sock)
        if data is None:
            return
        self._take(conn, data)
        if data and conn.reception.is_waiting:
            return
        self._stop_waiting(conn)
        if data:
            self._proceed(conn)
        else:
            self._give_up(conn, has_gone=True)

    def _give_up(self, conn: Any, *, has_gone: bool) -> None:
        """Nothing more comes of a request, or not soon: let the application say so where there is a header."""
        if conn.reception.phase == "body":
            if has_gone or conn.reception.is_screened:
                conn.reception.body.give_up("cut" if has_gone else "late")
            self._hand_over(conn)
        else:
            self._close(conn)

    def _refuse(self, conn: Any, status: bytes) -> None:
        self.log.warning("refused what is no clean HTTP from %s: %s", _address(conn), status.decode())
        _send(conn.sock, b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self._linger(conn)

    # -- a request is served --------------------------------------------------------------------------------------

    def handle(self, conn: Any) -> Any:
        """Serve one request; runs in a thread."""
        try:
            return super().handle(conn)
        except BodyPending:
            return _ASKED_FOR_BODY

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Go on with a connection that a thread is done with."""
        if self.cfg.is_ssl:
            super().finish_request(conn, fs)
            return
        is_lost = fs.cancelled() or fs.exception() is not None
        if is_lost or not fs.result():
            self._linger(conn)
        elif fs.result() is _ASKED_FOR_BODY:
            self._collect_body(conn)
        else:
            self._forget(conn)
            super().finish_request(conn, fs)

    def _collect_body(self, conn: Any) -> None:
        conn.reception.is_screened = True
        if conn.reception.expects_continue:
            _send(conn.sock, _CONTINUE)
        self._proceed(conn)

    def _linger(self, conn: Any) -> None:
        """Close a connection once its client has closed it, or soon (RFC 9112, section 9.6): a reset would take the
        reply from a client that is still sending."""
        self._forget(conn)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        conn.ends_at = time.monotonic() + LINGER_S
        conn.num_discarded = 0
        self._wait(conn, self._discard)

    def _discard(self, conn: Any, _sock: Any) -> None:
        data = _receive(conn.sock)
        conn.num_discarded += len(data or b"")
        if data == b"" or conn.num_discarded > LINGER_BYTES:
            self._stop_waiting(conn)
            self._close(conn)

    # -- connections that wait ------------------------------------------------------------------------------------

    def _wait(self, conn: Any, on_readable: Any) -> None:
        if len(self.pending_conns) >= self._max_waiting:
            self._drop_oldest()
        if not self.alive:
            conn.ends_at = min(_deadline(conn), time.monotonic() + LINGER_S)
        conn.sock.setblocking(False)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(on_readable, conn))

    def _stop_waiting(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events; a worker that takes no connections looks often whether it should."""
        super().wait_for_and_dispatch_events(timeout if self._accepting else min(timeout, CHECK_EVERY_S))

    def murder_pending(self) -> None:
        """Give up what has waited long enough, and the longest waiting where too much has been sent."""
        while self._num_bytes > self._max_bytes and self.pending_conns:
            self._drop_oldest()
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_EVERY_S
        for conn in [conn for conn in self.pending_conns if now >= _deadline(conn)]:
            self._stop_waiting(conn)
            if conn.ends_at is None:
                self._give_up(conn, has_gone=False)
            else:
                self._close(conn)

    def _drop_oldest(self) -> None:
        """Close the connection that has waited longest; a piece that comes does not make it younger."""
        if self.pending_conns:
            conn = self.pending_conns[0]
            self._stop_waiting(conn)
            self._close(conn)

    def _forget(self, conn: Any) -> None:
        """What a request has sent is no longer needed."""
        self._num_bytes -= conn.reception.num_bytes
        conn.reception.num_bytes = 0

    def _close(self, conn: Any) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """Shutting down: wait only shortly for requests that have not come."""
        self.standing.leave()
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.ends_at = min(_deadline(conn), deadline)


def _deadline(conn: Any) -> float:
    ends_at: float = conn.reception.deadline if conn.ends_at is None else conn.ends_at
    return ends_at


def _address(conn: Any) -> str:
    return str(conn.client[0]) if isinstance(conn.client, tuple) else "a local socket"


def _receive(sock: Any) -> bytes | None:
    """What has come; empty when the client has gone, None when there is nothing yet."""
    try:
        data: bytes = sock.recv(PIECE_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    return data


def _send(sock: Any, data: bytes) -> None:
    """Send a few bytes without waiting; where even those find no room, nobody is reading."""
    with contextlib.suppress(OSError):
        sock.setblocking(False)
        sock.send(data)


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
