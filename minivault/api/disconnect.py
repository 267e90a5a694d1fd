"""Notices at once that a client has gone, also during a silent prefill or in the queue.

One thread a process sleeps in `poll` on the sockets of running generations; the peer's FIN wakes it. A client that
only closes its sending half looks the same and is treated as gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from functools import partial

from flask import current_app, request

Forget = Callable[[], None]
Watch = Callable[[Callable[[], None]], Forget]
"""Takes what to do when the client goes; what it returns ends the watch."""
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class DisconnectWatcher:
    """Calls back once for each watched socket whose peer has gone. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, list[Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = -1, -1

    def start(self) -> None:
        """Start the thread now rather than with the first socket; idempotent."""
        with self._lock:
            self._ensure_thread()

    def watch(self, sock: socket.socket, on_gone: Callable[[], None]) -> Callable[[], None]:
        """Watch a socket until the returned function is called, which must be before the socket is closed.

        One socket may be watched several times: a request with several choices runs several generations.
        """
        fd = sock.fileno()
        with self._lock:
            self._ensure_thread()
            self._watched.setdefault(fd, []).append(on_gone)
        self._wake()

        def forget() -> None:
            with self._lock:
                callbacks = self._watched.get(fd, [])
                if on_gone in callbacks:
                    callbacks.remove(on_gone)
                if not callbacks:
                    self._watched.pop(fd, None)
            self._wake()

        return forget

    def _ensure_thread(self) -> None:
        if self._wake_read < 0:
            self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="minivault-disconnect", daemon=True)
            thread.start()
            self._thread = thread

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full of wake-ups already
            os.write(self._wake_write, b"x")

    def _run(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._wake_read, select.POLLIN)
            with self._lock:
                polled = dict(self._watched)
            for fd in polled:
                poll.register(fd, GONE)
            for fd, _ in poll.poll():
                if fd == self._wake_read:
                    os.read(fd, 4096)
                else:
                    self._report(fd, polled[fd])

    def _report(self, fd: int, polled: list[Callable[[], None]]) -> None:
        """Tell those that were polled. By now the number may be that of another client's socket."""
        with self._lock:
            if self._watched.get(fd) is not polled:
                return
            del self._watched[fd]
        for on_gone in polled:
            on_gone()


def client_watch() -> Watch | None:
    """Watches the client of the request at hand; None where that is switched off, or the server offers no socket."""
    sock = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if sock is None or not current_app.config["MINIVAULT"].disconnect_check:
        return None
    return partial(current_app.extensions["minivault.disconnect"].watch, sock)
