"""The command line in a pseudo-terminal, typed at and read like a person would."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.conftest import subprocess_environment
from tests.live import GUARD_S

# The pseudo-terminal becomes the process's own, so that Ctrl-C typed into it reaches the process as a signal.
CODE = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from minivault.cli import main; main()"
MAIN = [sys.executable, "-c", CODE]


class Terminal:
    """A program in a pseudo-terminal: type into it, wait for what it shows."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self.process = process
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def interrupt_prompt(self, text: str) -> None:
        """Press Ctrl-C at a prompt until `text` is shown: readline loses one that comes just before it waits."""
        for _ in range(10):
            self.type("\x03")
            if self._comes(text, 2):
                self.expect(text)
                return
        raise AssertionError(f"Ctrl-C at the prompt does not lead to {text!r}")

    def expect(self, text: str) -> str:
        """Wait for `text`; returns what was shown up to and with it, since the last `expect`."""
        if not self._comes(text, GUARD_S):
            raise AssertionError(f"waited for {text!r}, shown: {self.shown!r}")
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def _comes(self, text: str, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while text not in self.shown and time.monotonic() < deadline:
            if select.select([self._descriptor], [], [], 0.2)[0]:
                self.shown += os.read(self._descriptor, 65536).decode("utf-8", "replace")
        return text in self.shown


@contextmanager
def terminal(*args: str, **env: str) -> Iterator[Terminal]:
    """Run the command line in a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environ = subprocess_environment(**{"TERM": "xterm", "COLUMNS": "80", "PROMPT_TOOLKIT_NO_CPR": "1", **env})
    process = subprocess.Popen(
        [*MAIN, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait(GUARD_S)
        os.close(ours)
