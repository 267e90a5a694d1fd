"""Judge: the server's end of the judge's process, started when it is first needed and again whenever it is gone.

A schema is foreign: what reading, compiling and checking it costs is known only afterwards. So it is done first where
the kernel can end it, and what did not end there never begins here.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minivault.errors import Overloaded
from minivault.structured.refusal import SchemaRefused

MAX_PARALLEL = 2
"""Schemas judged side by side, and as many answers checked: who waits for a check waits for no schema."""
PATIENCE_S = 30.0
"""Longer than a job may take by the process's own limit."""
START = "import sys; sys.path[:] = sys.argv[1:]; from minivault.structured.process import main; main()"
TOO_COSTLY = (
    "judging it takes more than a second or 192 MB; make it smaller: fewer optional properties, shorter repetitions"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A schema that may be compiled. `schema` is what to compile, `size_bytes` what that takes; `has_free_keys` says
    that no object's keys follow a pattern."""

    schema: str
    size_bytes: int
    has_free_keys: bool


class Judge:
    """For one vocabulary. Thread-safe; few jobs run side by side, the others wait."""

    def __init__(self, tokens: Sequence[bytes], eos_ids: Sequence[int]) -> None:
        vocabulary = json.dumps([[token.decode("latin-1") for token in tokens], list(eos_ids)]).encode()
        self._vocabulary = len(vocabulary).to_bytes(8, "big") + vocabulary
        self._lock = threading.Lock()
        self._judging, self._checking = threading.Semaphore(MAX_PARALLEL), threading.Semaphore(MAX_PARALLEL)
        self._control: socket.socket | None = None
        self._end: weakref.finalize[Any, Judge] | None = None

    def judge(self, grammar: str) -> Judged:
        """Raises SchemaRefused, and Overloaded when no process can be had."""
        reply = self._ask(self._judging, {"grammar": grammar})
        if reply is None:
            raise SchemaRefused(TOO_COSTLY)
        if "refused" in reply:
            raise SchemaRefused(reply["refused"])
        return Judged(**reply)

    def fault(self, grammar: str, text: str) -> str | None:
        """Where an answer breaks its schema; None when it satisfies it. Raises Overloaded."""
        reply = self._ask(self._checking, {"grammar": grammar, "text": text})
        if reply is None:
            return "the check takes too long"
        fault: str | None = reply.get("refused", reply.get("fault"))
        return fault

    def close(self) -> None:
        """End the process; a later job starts another."""
        with self._lock:
            self._discard(self._control)

    def _ask(self, places: threading.Semaphore, job: dict[str, str]) -> dict[str, Any] | None:
        """The reply; None when the job died of its limits."""
        with places:
            for _ in range(2):  # a process that was killed is found gone by the first
                reply = self._exchange(json.dumps(job).encode())
                if reply:
                    return json.loads(reply[1:]) if reply[1:] else None
        raise Overloaded("the process that judges schemas cannot be started; try again shortly", retry_after_s=5)

    def _exchange(self, job: bytes) -> bytes:
        """All that comes back; nothing when the process is gone, which ends what is left of it."""
        control = None
        reply = b""
        with contextlib.suppress(OSError):
            control = self._process()
            reply = _sent(control, job)
        if not reply:
            with self._lock:
                self._discard(control)
        return reply

    def _process(self) -> socket.socket:
        with self._lock:
            if self._control is None:
                self._control = self._start()
            return self._control

    def _discard(self, control: socket.socket | None) -> None:
        """End the process that `control` leads to, unless another has taken its place."""
        if control is not None and control is self._control and self._end is not None:
            self._control = None
            self._end()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", START, *sys.path],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the server's to hear
            )
        self._end = weakref.finalize(self, _end, ours, process)
        ours.sendall(self._vocabulary)
        return ours


def _sent(control: socket.socket, job: bytes) -> bytes:
    """What a job's own socket gives back, from the sign that it has begun to its end."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            socket.send_fds(control, [b"."], [theirs.fileno()])
        ours.settimeout(PATIENCE_S)
        ours.sendall(job)
        ours.shutdown(socket.SHUT_WR)
        with ours.makefile("rb") as file:
            return file.read()


def _end(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    control.close()
    process.kill()
    process.wait()
