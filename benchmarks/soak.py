"""A long run with mixed clients and faults at 2 workers: memory, files and threads stay flat, the vault verifies.

    python -m benchmarks.soak [--minutes 20] [--clients 12] [--json]

Exits with 1 when something grows, when a worker dies, when a well-formed request gets a 5xx that it should not, or when
the vault does not verify. The first fifth of the run is warm-up and not fitted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.faults.raw import Target, post_bytes, read_reply
from tests.live import PROJECT, LiveServer, live_server

SAMPLE_EVERY_S = 2.0
MAX_GROWTH = {"rss_mb": 8.0, "fds": 2.0, "threads": 2.0}
"""How much the fitted line of one worker may rise over the measured part of the run."""
TEXT = "The quick brown fox jumps over the lazy dog. " * 3


@dataclass
class Tally:
    """What the clients did and saw."""

    done: Counter[str] = field(default_factory=Counter)
    surprises: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, surprise: str = "") -> None:
        with self.lock:
            self.done[what] += 1
            if surprise:
                self.surprises[f"{what}: {surprise}"] += 1


def whole(target: Target, rng: random.Random) -> str:
    reply = target.post({"prompt": f"say {TEXT[: rng.randint(1, 100)]}", "seed": rng.randint(0, 99)})
    return "" if reply.status_code in (200, 503) else f"status {reply.status_code}"


def streamed(target: Target, rng: random.Random) -> str:
    reply = target.post({"prompt": f"delay=0.002 say {TEXT[: rng.randint(1, 60)]}"}, "/stream-generate")
    if reply.status_code == 503:
        return ""
    return "" if json.loads(reply.text.splitlines()[-1]).get("done") is True else "no last line"


def ollama(target: Target, rng: random.Random) -> str:
    body = {"model": "scripted", "messages": [{"role": "user", "content": f"say {TEXT[: rng.randint(1, 50)]}"}]}
    reply = target.post(body, "/api/chat")
    return "" if reply.status_code in (200, 503) else f"status {reply.status_code}"


def openai(target: Target, rng: random.Random) -> str:
    content = f"say {TEXT[: rng.randint(1, 50)]}"
    body = {"model": "scripted", "messages": [{"role": "user", "content": content}], "stream": rng.random() < 0.5}
    reply = target.post(body, "/v1/chat/completions")
    return "" if reply.status_code in (200, 503) else f"status {reply.status_code}"


def leaves(target: Target, rng: random.Random) -> str:
    with target.connect() as sock:
        sock.sendall(post_bytes(json.dumps({"prompt": "delay=0.01 say " + TEXT}).encode(), path="/stream-generate"))
        sock.recv(rng.choice([1, 500]))
        if rng.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    return ""


def fails(target: Target, rng: random.Random) -> str:
    reply = target.post({"prompt": f"{rng.choice(['raise', 'oom'])}={rng.randint(0, 5)} say abcdefgh"})
    return "" if reply.status_code in (500, 503) else f"status {reply.status_code}"


def malformed(target: Target, rng: random.Random) -> str:
    body = rng.choice([b"{", b"[" * 10_000, b'{"prompt": NaN}', b'{"prompt": 1}', b"\xff", b'{"prompt": "x", "y": 1}'])
    reply = target.post(body)
    return "" if reply.status_code == 400 else f"status {reply.status_code}"


def cut_short(target: Target, _rng: random.Random) -> str:
    reply = target.exchange(post_bytes(b'{"prompt": "say x"}', length=500), half_close=True)
    return "" if reply.status == 400 else f"status {reply.status}"


def stalls(target: Target, rng: random.Random) -> str:
    with target.connect() as sock:
        sock.sendall(rng.choice([b"", b"POST /generate HTT", post_bytes(b"{", length=100)]))
        read_reply(sock, 3)
    return ""


def watches(target: Target, rng: random.Random) -> str:
    path = rng.choice(["/health", "/metrics", "/ready", "/api/tags", "/v1/models", "/nothing"])
    status = httpx.get(target.server.url + path, timeout=10).status_code
    return "" if status in (200, 404) else f"{path} {status}"


CLIENTS: list[tuple[Callable[[Target, random.Random], str], int]] = [
    (whole, 10),
    (streamed, 10),
    (ollama, 5),
    (openai, 5),
    (leaves, 5),
    (fails, 2),
    (malformed, 3),
    (cut_short, 2),
    (stalls, 1),
    (watches, 4),
]


def client(target: Target, tally: Tally, stop: threading.Event, seed: int) -> None:
    """One client that does one thing after another until told to stop."""
    rng = random.Random(seed)
    actions, weights = zip(*CLIENTS, strict=True)
    while not stop.is_set():
        [action] = rng.choices(actions, weights)
        try:
            surprise = action(target, rng)
        except (OSError, httpx.TransportError, ValueError, IndexError) as error:
            surprise = type(error).__name__
        tally.count(action.__name__, surprise)


def sample(pids: list[int], at: float, into: dict[int, list[dict[str, float]]]) -> None:
    for pid in pids:
        process = psutil.Process(pid)
        values = {
            "at": at,
            "rss_mb": process.memory_info().rss / 2**20,
            "fds": float(process.num_fds()),
            "threads": float(process.num_threads()),
        }
        into.setdefault(pid, []).append(values)


def growth(samples: list[dict[str, float]], name: str) -> float:
    """How much the least-squares line through one figure rises from its first sample to its last."""
    times = [one["at"] for one in samples]
    slope = statistics.linear_regression(times, [one[name] for one in samples]).slope
    return slope * (times[-1] - times[0])


def run(
    server: LiveServer, minutes: float, num_clients: int
) -> tuple[dict[int, list[dict[str, float]]], Tally, list[int]]:
    """Let the clients loose and sample the workers meanwhile."""
    target, tally, stop = Target(server), Tally(), threading.Event()
    threads = [threading.Thread(target=client, args=(target, tally, stop, seed)) for seed in range(num_clients)]
    for thread in threads:
        thread.start()
    samples: dict[int, list[dict[str, float]]] = {}
    begun = time.monotonic()
    workers = server.workers()
    try:
        while time.monotonic() - begun < minutes * 60 and server.workers() == workers:
            sample(workers, time.monotonic() - begun, samples)
            time.sleep(SAMPLE_EVERY_S)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return samples, tally, workers


def verify(server: LiveServer, home: Path) -> int:
    """Exit status of `vault verify`."""
    environ = {**os.environ, "MINIVAULT_LOG_DIR": str(server.vault), "MINIVAULT_HOME": str(home)}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "minivault", "vault", "verify"]
    return subprocess.run(command, cwd=PROJECT, env=environ, stdout=sys.stderr, check=False).returncode


def report(samples: dict[int, list[dict[str, float]]], tally: Tally) -> dict[str, Any]:
    found: dict[str, Any] = {"requests": sum(tally.done.values()), **tally.done, "surprises": dict(tally.surprises)}
    for pid, taken in samples.items():
        measured = taken[len(taken) // 5 :]
        hours = (measured[-1]["at"] - measured[0]["at"]) / 3600
        for name in MAX_GROWTH:
            rise = growth(measured, name)
            found[f"worker {pid} {name}"] = {
                "first": measured[0][name],
                "last": measured[-1][name],
                "rise": round(rise, 3),
                "per_hour": round(rise / hours, 2),
            }
    return found


def problems(found: dict[str, Any], is_same_workers: bool, verified: int) -> list[str]:
    grown = [
        f"{name} rose by {value['rise']}"
        for name, value in found.items()
        if isinstance(value, dict) and "rise" in value and value["rise"] > MAX_GROWTH[name.rpartition(" ")[2]]
    ]
    died = [] if is_same_workers else ["a worker was replaced"]
    broken = [] if verified in (0, 1) else [f"vault verify said {verified}"]
    return [*grown, *died, *broken, *(f"surprise: {text}" for text in found["surprises"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # Few threads, so that the pool is soon full: gunicorn makes its threads one by one, as they are first needed.
        limits = {"rate_limit": "", "threads": 8, "max_running": 4, "max_waiting": 16, "receive_timeout_s": 2}
        with live_server(directory, workers=2, **limits) as server:
            server.wait_ready()
            server.wait_for(lambda: len(server.workers()) == 2)
            samples, tally, workers = run(server, arguments.minutes, arguments.clients)
            is_same = server.workers() == workers
            server.stop()
            found = report(samples, tally)
            found["vault_verify"] = verify(server, directory / "home")
    wrong = problems(found, is_same, found["vault_verify"])
    if arguments.json:
        print(json.dumps({**found, "problems": wrong}))
    else:
        for key, value in found.items():
            print(f"{key:28} {value}")
        print(*(wrong or ["flat, verified, no surprise"]), sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
