"""The judge's process: small, resident, and never itself at risk. For each job it forks one that may die of it.

It holds the vocabulary and the libraries and waits. A job arrives as a socket; its fork has a limit on processor time,
on time and on memory, all kept by the kernel, and answers on the socket. It ends when its parent does: the control
socket closes then. Numpy and torch are not loaded here, and no thread runs when it forks.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Any

from llguidance import LLTokenizer

from minivault.structured.judging import check, judge
from minivault.structured.refusal import SchemaRefused
from minivault.structured.vocabulary import library_tokenizer, longest_tokens

CPU_S = 1.0
WALL_S = 20.0
MEMORY_BYTES = 192 << 20
STACK_BYTES = 2 << 20
"""Less than any thread of the server has: what recurses too deeply there dies here first."""
BEGUN = b"."
LENGTH_BYTES = 8
PLAIN = '{"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"enum": ["a", 1]}}}'


def main() -> None:
    """Serve until the control socket, which is standard input, closes."""
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the forks
    tokenizer = _read_vocabulary(control)
    judge(tokenizer, PLAIN)  # what the libraries prepare on first use, every fork then has
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if descriptors:
            _fork(tokenizer, control, descriptors[0])


def _read_vocabulary(control: socket.socket) -> LLTokenizer:
    """The first message: its length, then JSON. What follows it is left in the socket, descriptors and all."""
    length = int.from_bytes(_exactly(control, LENGTH_BYTES), "big")
    spelled, eos_ids = json.loads(_exactly(control, length))
    tokens = [token.encode("latin-1") for token in spelled]
    return library_tokenizer(tokens, eos_ids, partial(longest_tokens, {token: i for i, token in enumerate(tokens)}))


def _exactly(control: socket.socket, num_bytes: int) -> bytes:
    data = b""
    while len(data) < num_bytes:
        data += (more := control.recv(num_bytes - len(data)))
        if not more:
            raise EOFError
    return data


def _fork(tokenizer: LLTokenizer, control: socket.socket, descriptor: int) -> None:
    if os.fork():
        os.close(descriptor)
        return
    control.close()
    with socket.socket(fileno=descriptor) as reply:
        reply.sendall(BEGUN)
        _limit()
        threading.stack_size(STACK_BYTES)
        thread = threading.Thread(target=_work, args=(tokenizer, reply))
        thread.start()
        thread.join()
    os._exit(0)


def _limit() -> None:
    for number, timer, seconds in (
        (signal.SIGPROF, signal.ITIMER_PROF, CPU_S),
        (signal.SIGALRM, signal.ITIMER_REAL, WALL_S),
    ):
        signal.signal(number, signal.SIG_DFL)
        signal.setitimer(timer, seconds)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES,) * 2)


def _work(tokenizer: LLTokenizer, reply: socket.socket) -> None:
    with reply.makefile("rb") as file:
        job = json.loads(file.read())
    reply.sendall(json.dumps(_answer(tokenizer, job)).encode())


def _answer(tokenizer: LLTokenizer, job: dict[str, Any]) -> dict[str, Any]:
    try:
        if "text" in job:
            return check(job["grammar"], job["text"])
        return judge(tokenizer, job["grammar"])
    except SchemaRefused as refused:
        return {"refused": refused.reason}
    except RecursionError:
        return {"refused": "it nests too deeply"}
