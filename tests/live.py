"""A real gunicorn on loopback, for tests: started with given settings, always stopped, by its own process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

PROJECT = Path(__file__).resolve().parent.parent
CONF = PROJECT / "gunicorn.conf.py"


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

    def wait_ready(self, timeout_s: float = 60) -> None:
        self.wait_for(lambda: self._status("/ready") == 200, timeout_s)

    def wait_up(self, timeout_s: float = 30) -> None:
        self.wait_for(lambda: self._status("/health") is not None, timeout_s)

    def wait_for(self, condition: object, timeout_s: float = 30) -> None:
        """Wait until `condition()` holds; fail with the server's log when it does not in time."""
        assert callable(condition)
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout_s} s in vain:\n{self.log}")
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self, sig: int = signal.SIGTERM, timeout_s: float = 40) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout_s)

    def _status(self, path: str) -> int | None:
        try:
            return httpx.get(self.url + path, timeout=5).status_code
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
                process.wait(10)
