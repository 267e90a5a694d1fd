"""What the door costs and what it holds: keys, limits, slow clients, overload.

    python -m benchmarks.access [--json]

The model is scripted, so that the figures are those of the door alone. Overload is offered from this same machine.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.open_loop import offer
from minivault.access.keys import KeyFile, NewKey
from minivault.access.rates import Rates, parse_limit
from minivault.app import create_app
from minivault.config import Settings
from tests.faults.raw import Target
from tests.live import live_server

NUM_CALLS = 3000
PROCESSES, ATTEMPTS, LIMIT = 4, 2000, "1000/hour"
NUM_SLOW = 64
OVERLOAD = 10


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def door(directory: Path) -> dict[str, Any]:
    """Milliseconds that the guard adds to one request, with a key and a limit to check, and its header fields."""
    settings = Settings(home=directory / "home", log_dir=directory / "vault", rate_limit="1000000/minute")
    file = KeyFile(settings.keys_file)
    [(_, token), *_] = file.create(NewKey("bench"), *(NewKey(f"student {number}") for number in range(200)))
    app = create_app(settings)
    guard = app.extensions["minivault_guard"]
    took = []
    for _ in range(NUM_CALLS):
        with app.test_request_context("/generate", method="POST", headers={"Authorization": f"Bearer {token}"}):
            begun = time.perf_counter()
            guard.admit()
            guard.annotate(app.response_class())
            took.append((time.perf_counter() - begun) * 1e3)
    guard.meter.rates.close()
    return {"door_p50_ms": percentile(took, 50), "door_p99_ms": percentile(took, 99)}


def _hit(directory: str, results: multiprocessing.Queue[tuple[int, list[float]]]) -> None:
    rates = Rates("embedded", Path(directory))
    limit = parse_limit(LIMIT)
    assert limit is not None
    took, admitted = [], 0
    for _ in range(ATTEMPTS):
        begun = time.perf_counter()
        admitted += not rates.hit("requests", limit, "bench").is_exceeded
        took.append((time.perf_counter() - begun) * 1e6)
    rates.close()
    results.put((admitted, took))


def exactness(directory: Path) -> dict[str, Any]:
    """How many of 8,000 attempts from 4 processes a limit of 1,000 admits, and microseconds for each."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_hit, args=(str(directory), results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    counted = [results.get(timeout=100) for _ in processes]
    for process in processes:
        process.join()
    took = [value for _, values in counted for value in values]
    return {
        "limit": int(LIMIT.partition("/")[0]),
        "attempts": PROCESSES * ATTEMPTS,
        "admitted": sum(admitted for admitted, _ in counted),
        "hit_p50_us": percentile(took, 50),
        "hit_p99_us": percentile(took, 99),
        "hit_max_us": max(took),
    }


def slow_headers(target: Target) -> dict[str, Any]:
    """Seconds until /health answers while 64 connections have sent half a header."""
    sockets = [target.connect() for _ in range(NUM_SLOW)]
    for sock in sockets:
        sock.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    took = [_seconds(lambda: target.health(10)) for _ in range(20)]
    for sock in sockets:
        sock.close()
    return {"slow_connections": NUM_SLOW, "health_p50_ms": percentile(took, 50) * 1e3, "health_max_ms": max(took) * 1e3}


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def overload(target: Target, seconds: float) -> dict[str, Any]:
    """Answers a second at capacity, then with ten times as much offered: what is refused, how fast, what is kept."""
    body = {"prompt": "delay=0.01 say abcdefghi"}  # 10 steps of 10 ms
    full = offer(target.address, body, per_s=40, seconds=seconds)
    capacity = full.accepted_per_s
    over = offer(target.address, body, per_s=capacity * OVERLOAD, seconds=seconds)
    return {
        "capacity_per_s": capacity,
        "offered_per_s": capacity * OVERLOAD,
        "accepted_per_s": over.accepted_per_s,
        "kept": over.accepted_per_s / capacity,
        "refused": len(over.refused_s),
        "failed": over.num_failed,
        "refused_p50_ms": percentile(over.refused_s, 50) * 1e3,
        "refused_p99_ms": percentile(over.refused_s, 99) * 1e3,
    }


def measure(seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        found = {**door(directory / "door"), **exactness(directory / "run")}
        with live_server(directory, max_running=4, max_waiting=4, rate_limit="") as server:
            server.wait_ready()
            target = Target(server)
            target.answer("say warm")
            return {**found, **slow_headers(target), **overload(target, seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=8, help="length of each overload phase")
    arguments = parser.parse_args()
    found = measure(arguments.seconds)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:20} {value:>12,.3f}" if isinstance(value, float) else f"{name:20} {value:>12,}")


if __name__ == "__main__":
    main()
