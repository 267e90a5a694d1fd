"""The default model over HTTP: the same request gives the same tokens, whatever else the server is doing."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.config import load_settings
from minivault.errors import ModelError
from minivault.models import ModelStore
from minivault.vault.reader import read_records
from tests.live import GUARD_S, LiveServer, live_server

pytestmark = [pytest.mark.server, pytest.mark.model]

TOPICS = ("rivers", "bread", "clocks", "foxes", "glass", "islands", "kites", "salt")
LONG_SYSTEM = "You answer briefly. " + " ".join(f"Rule {n}: never mention the number {n * 7}." for n in range(12))


@pytest.fixture
def home() -> Path:
    settings = load_settings()
    try:
        ModelStore(settings.models_dir).resolve("smollm2-135m")
    except ModelError as error:
        pytest.skip(error.message)
    return settings.home


def requests(count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Greedy and sampled requests, a third of them behind one long system prompt; told apart by their seed."""
    made = []
    for seed in range(count):
        body: dict[str, Any] = {"prompt": f"Tell me about {rng.choice(TOPICS)}, please.", "seed": seed}
        body |= {"max_tokens": rng.randint(4, 16), "temperature": rng.choice([0, 0.7, 1.3])}
        body |= rng.choice([{}, {}, {"system": LONG_SYSTEM}, {"stop": ["."]}, {"repetition_penalty": 1.2}])
        made.append(body)
    return made


def ask(server: LiveServer, body: dict[str, Any]) -> None:
    path = "/stream-generate" if body["seed"] % 2 else "/generate"
    response = httpx.post(server.url + path, json=body, timeout=GUARD_S)
    assert response.status_code == 200, response.text


def tokens_by_seed(vault: Path) -> dict[int, list[int]]:
    return {
        record["parameters"]["seed"]: record["completion_tokens"]
        for record in read_records(vault)
        if record["type"] == "interaction" and record["status"] == "completed"
    }


@contextmanager
def noise(server: LiveServer, rng: random.Random) -> Iterator[None]:
    """Clients beside the measured ones that leave in the middle of their answers."""
    done = threading.Event()

    def leave_early() -> None:
        while not done.is_set():
            body = {"prompt": "Tell me a long story.", "max_tokens": 100, "seed": 10**6}
            with suppress(httpx.TransportError), httpx.Client(timeout=rng.uniform(0.2, 1.0)) as client:
                client.post(server.url + "/generate", json=body)

    thread = threading.Thread(target=leave_early)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def run(directory: Path, home: Path, bodies: list[dict[str, Any]], num_clients: int, **settings: object) -> Path:
    directory.mkdir()
    with live_server(
        directory, backend="local", runner="exact", home=home, rate_limit="", max_waiting=64, cpu_threads=1, **settings
    ) as server:
        server.wait_ready()
        rng = random.Random(5)
        with ThreadPoolExecutor(num_clients) as pool:
            if num_clients == 1:
                list(pool.map(lambda body: ask(server, body), bodies))
            else:
                with noise(server, rng):
                    list(pool.map(lambda body: ask(server, body), bodies))
        return server.vault


def check_same(tmp_path: Path, home: Path, count: int) -> None:
    bodies = requests(count, random.Random(3))
    crowded = tokens_by_seed(run(tmp_path / "crowd", home, bodies, 16))
    alone = tokens_by_seed(run(tmp_path / "alone", home, bodies, 1, prefix_cache_mb=0))
    same = sum(alone[seed] == crowded[seed] for seed in range(count))
    print(f"{same} of {count} answers are the same alone and in a crowd")
    assert same == count


def test_answers_do_not_depend_on_who_else_asks(tmp_path: Path, home: Path) -> None:
    check_same(tmp_path, home, 18)


@pytest.mark.slow
def test_two_hundred_answers_do_not_depend_on_who_else_asks(tmp_path: Path, home: Path) -> None:
    check_same(tmp_path, home, 200)
