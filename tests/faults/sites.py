"""Fronts and engines as processes of their own, and one client's stream through them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from minivault.vault.reader import read_records
from tests.live import GUARD_S, PROJECT, LiveServer


@contextmanager
def engine_process(prefix: Sequence[str] = (), host: str = "127.0.0.1") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """An engine that says `endless` things, and its address; `prefix` is a command that runs another one."""
    command = [*prefix, sys.executable, "-m", "tests.service.upstream.engine", host]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


class Stream:
    """One client's stream, as far as it has read."""

    def __init__(self, stack: ExitStack, url: str, prompt: str) -> None:
        sent = httpx.stream("POST", url + "/stream-generate", json={"prompt": prompt}, timeout=GUARD_S)
        self._response = stack.enter_context(sent)
        self.id = self._response.headers["X-Request-Id"]
        self._lines = self._response.iter_lines()
        self.text = json.loads(next(self._lines))["token"]
        self.last: dict[str, Any] = {}

    def read_some(self, num_lines: int) -> None:
        for _ in range(num_lines):
            self.text += json.loads(next(self._lines))["token"]

    def read_on(self) -> None:
        """To the end, whole or broken."""
        try:
            for line in self._lines:
                self.last = json.loads(line)
                self.text += self.last.get("token", "")
        except httpx.TransportError:
            self.last = {}


def record_of(front: LiveServer, id_: str) -> dict[str, Any]:
    front.wait_for(lambda: any(record["id"] == id_ for record in read_records(front.vault)))
    return next(record for record in read_records(front.vault) if record["id"] == id_)


def ask(url: str, prompt: str) -> httpx.Response:
    return httpx.post(url + "/generate", json={"prompt": prompt}, timeout=GUARD_S)


def is_recorded(stream: Stream, front: LiveServer) -> bool:
    """Whether it has ended for its front: one that goes on has no record."""
    return any(record["id"] == stream.id for record in read_records(front.vault))
