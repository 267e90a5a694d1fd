"""What is promised in seconds or tokens, measured: no test asserts these, since a busy machine breaks any number.

    python -m benchmarks.promises [--json]

Run it on a machine that does nothing else. The model is scripted, so that the figures are the server's alone. Exit
status 1: something took longer than the documentation says.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

from tests.faults.raw import Target, post_bytes, read_reply
from tests.live import NEVER_S, LiveServer, live_server, until

NUM_TRIES = 5
RECEIVE_TIMEOUT_S = 1.5


@dataclass(frozen=True)
class Measured:
    """One promise: the middle of several tries, the worst, and the most that it may be."""

    promise: str
    middle: float
    worst: float
    most: float
    unit: str = "s"

    @property
    def is_kept(self) -> bool:
        return self.worst <= self.most


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def repeated(promise: str, most: float, measure: Callable[[], float], unit: str = "s") -> Measured:
    values = [measure() for _ in range(NUM_TRIES)]
    return Measured(promise, median(values), max(values), most, unit)


@contextmanager
def serving(**settings: object) -> Iterator[Target]:
    with tempfile.TemporaryDirectory() as folder, live_server(Path(folder), rate_limit="", **settings) as server:
        server.wait_ready()
        yield Target(server)


def streamed(prompt: str, **more: object) -> bytes:
    body = json.dumps({"prompt": prompt, **more}).encode()
    return post_bytes(body, path="/stream-generate", extra="Connection: close\r\n")


# -- clients -------------------------------------------------------------------------------------------------------


def overload() -> Iterator[Measured]:
    """A full server says so."""
    with serving(max_running=2, max_waiting=1) as target, ThreadPoolExecutor(3) as pool:
        ended = target.server.vault.parent / "ended"
        body = {"prompt": f"delay=0.02 until={ended} say a", "max_tokens": 2000}
        for _ in range(3):
            pool.submit(target.post, body)
        until(lambda: target.health()["running"] + target.health()["waiting"] == 3)
        yield repeated("503 `overloaded` with every place taken", 0.1, lambda: seconds(lambda: target.post(body)))
        ended.touch()


def slow_clients() -> Iterator[Measured]:
    """Others do not notice them."""
    with serving(threads=16, receive_timeout_s=NEVER_S) as target:
        for name, sent in (("half a header", b"POST /generate HTTP/1.1\r\nX: "), ("nothing", b"")):
            sockets = [target.connect() for _ in range(64)]
            for sock in sockets:
                sock.sendall(sent)
            yield repeated(f"`/health` while 64 connections send {name}", 1, lambda: seconds(target.health))
            for sock in sockets:
                sock.close()
    with serving(receive_timeout_s=RECEIVE_TIMEOUT_S) as target:
        promise = f"a header that trickles in is cut off (receive timeout {RECEIVE_TIMEOUT_S} s)"
        yield Measured(promise, *([seconds(partial(trickle, target))] * 2), 5)


def trickle(target: Target) -> None:
    with target.connect() as sock:
        sock.settimeout(0.1)
        while True:
            try:
                sock.sendall(b"G")
                if not sock.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return


def leaving() -> Iterator[Measured]:
    """What is generated for a client that has gone."""
    with serving(max_running=1, max_waiting=2) as target:
        yield repeated("tokens generated after a client has left", 2, lambda: left_mid_stream(target), "tokens")
        yield repeated("tokens generated when it left during prefill", 1, lambda: left_in_prefill(target), "tokens")
        yield repeated("a place in the queue is free after its client left", 1, lambda: left_the_queue(target))


def left_mid_stream(target: Target) -> float:
    def leave() -> None:
        with target.connect() as sock:
            sock.sendall(streamed("delay=0.05 say " + "a" * 200))
            while len(seen) < 3:
                seen.extend([b"a"] * sock.recv(4096).count(b'"token"'))

    seen: list[bytes] = []
    [record] = target.new_records(leave)
    return len(record["response"]) - len(seen)


def left_in_prefill(target: Target) -> float:
    def leave() -> None:
        with target.connect() as sock:
            sock.sendall(streamed("prefill=0.5 say " + "a" * 200))
            until(lambda: target.health()["running"] == 1)

    [record] = target.new_records(leave)
    return len(record["response"])


def left_the_queue(target: Target) -> float:
    with target.connect() as first, target.connect() as second:
        first.sendall(streamed("delay=0.02 say " + "a" * 100))
        first.recv(1)
        second.sendall(streamed("say b"))
        until(lambda: target.health()["waiting"] == 1)
        second.shutdown(socket.SHUT_RDWR)
        took = seconds(lambda: until(lambda: target.health()["waiting"] == 0))
        read_reply(first)
    return took


# -- stopping ------------------------------------------------------------------------------------------------------


def stopping() -> Iterator[Measured]:
    """From the signal to the end of the process, with a grace period that is never used up."""
    yield stopped("SIGTERM, idle", 4, signal.SIGTERM)
    yield stopped("SIGTERM while the model loads", 3, signal.SIGTERM, backend="tests.scripted:endless_backend")
    yield stopped("SIGINT while an answer streams", 5, signal.SIGINT, prompt="delay=0.05 say " + "a" * 250)
    yield stopped("SIGTERM while one streams, grace period 6 s", 6, signal.SIGTERM, 6, "delay=0.05 say " + "a" * 250)


def stopped(
    promise: str, most: float, sig: int, grace_s: int = NEVER_S, prompt: str = "", **settings: object
) -> Measured:
    def once() -> float:
        with (
            tempfile.TemporaryDirectory() as folder,
            live_server(Path(folder), graceful_timeout_s=grace_s, **settings) as server,
        ):
            server.wait_up() if "backend" in settings else server.wait_ready()
            return stopped_streaming(server, prompt, sig) if prompt else seconds(lambda: server.stop(sig))

    return repeated(promise, most, once)


def stopped_streaming(server: LiveServer, prompt: str, sig: int) -> float:
    with Target(server).connect() as sock:
        sock.sendall(streamed(prompt))
        sock.recv(1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(read_reply, sock).add_done_callback(lambda _: sock.close())
            return seconds(lambda: server.stop(sig))


# -- the rest ------------------------------------------------------------------------------------------------------


def others() -> Iterator[Measured]:
    with serving() as target:
        [worker] = target.server.workers()
        shares = partial(cpu_share, [target.server.process.pid, worker])
        yield repeated("one core's share of an idle server", 0.1, shares, "cores")
    with serving(deadline_s=1) as target:
        hanging = seconds(lambda: target.post({"prompt": "hang=0 say a"}))
        yield Measured("a model that hangs is given up (deadline 1 s)", hanging, hanging, 20)


def cpu_share(pids: list[int]) -> float:
    def used_s(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = sum(map(used_s, pids))
    time.sleep(1)
    return sum(map(used_s, pids)) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    is_json = parser.parse_args().json
    found = [row for part in (overload, slow_clients, leaving, stopping, others) for row in part()]
    if is_json:
        print(json.dumps([asdict(row) for row in found]))
    else:
        print("| promise | at most | median | worst |\n|---|---|---|---|")
        for row in found:
            kept = "" if row.is_kept else "  **missed**"
            print(f"| {row.promise} | {row.most:g} {row.unit} | {row.middle:.3g} | {row.worst:.3g}{kept} |")
    sys.exit(not all(row.is_kept for row in found))


if __name__ == "__main__":
    main()
