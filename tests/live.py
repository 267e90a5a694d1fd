"""A real gunicorn on loopback, for tests: started with given settings, always stopped, by its own process id.

Nothing here measures time. `GUARD_S` only keeps a test that waits in vain from hanging; where something must happen *at
once*, the settings make the other way take `NEVER_S`, so that a test which waited for that would run into its guard.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

GUARD_S = 90.0
NEVER_S = 600
PROJECT = Path(__file__).resolve().parent.parent
CONF = PROJECT / "gunicorn.conf.py"


def until(condition: Callable[[], object], give_up: Callable[[], str | None] = lambda: None) -> None:
    """Wait until `condition()` holds. Fails when that takes longer than any machine needs, or with what `give_up` says
    as soon as it says something."""
    deadline = time.monotonic() + GUARD_S
    while not condition():
        reason = f"waited {GUARD_S:.0f} s in vain" if time.monotonic() > deadline else give_up()
        if reason is not None:
            raise AssertionError(reason)
        time.sleep(0.05)


@dataclass
class LiveServer:
    """A running server; `log` is what it printed so far."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path
    vault: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_ready(self) -> None:
        self.wait_for(lambda: self._status("/ready") == 200)

    def wait_up(self) -> None:
        self.wait_for(lambda: self._status("/health") is not None)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until `condition()` holds; fail with the server's log when it ends before or does not come to it."""
        try:
            until(condition, self._has_ended)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.log}") from None

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.wait_ended()

    def wait_for_signal(self) -> None:
        """Until the signal that was just sent has been heard, or has ended the server."""
        until(lambda: "Handling signal" in self.log or self.process.poll() is not None)

    def wait_ended(self) -> int:
        """The exit status of a server that ends by itself."""
        return self.process.wait(GUARD_S)

    def _has_ended(self) -> str | None:
        return None if self.process.poll() is None else f"the server ended with {self.process.returncode}"

    def _status(self, path: str) -> int | None:
        try:
            return httpx.get(self.url + path, timeout=GUARD_S).status_code
        except httpx.TransportError:
            return None


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def live_server(
    directory: Path, *, conf: Path = CONF, prefix: Sequence[str] = (), **settings: object
) -> Iterator[LiveServer]:
    """Start `gunicorn wsgi:app` with a scripted model and its files under `directory`; `settings` are MINIVAULT_* in
    lower case, `prefix` a command that runs another one. The server is killed at the end if it has not stopped by
    itself."""
    address = f"127.0.0.1:{free_port()}"
    chosen = {
        "backend": "tests.scripted:backend",
        "bind": address,
        "home": directory / "home",
        "log_dir": directory / "vault",
        "graceful_timeout_s": 6,
        **settings,
    }
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MINIVAULT_")}
    environ |= {f"MINIVAULT_{key.upper()}": str(value) for key, value in chosen.items()}
    environ["PYTHONPATH"] = str(PROJECT)
    log_file = directory / "server.log"
    with log_file.open("wb") as log:
        command = [*prefix, sys.executable, "-m", "gunicorn", "-c", str(conf), "wsgi:app"]
        process = subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield LiveServer(f"http://{address}", process, log_file, Path(str(chosen["log_dir"])))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(GUARD_S)
