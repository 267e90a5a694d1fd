"""Workers are killed at random while many clients stream; the vault must know every answer, once, and replay it."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.config import load_settings
from minivault.replay import replay
from minivault.service import LocalModel
from minivault.vault.reader import read_records
from minivault.vault.verify import verify
from tests.live import LiveServer, live_server
from tests.scripted import backend

pytestmark = pytest.mark.server
ANSWERS_PER_KILL = 20


@dataclass(frozen=True)
class Seen:
    """What one client saw of one answer. `id` is None when the connection broke before the reply's headers."""

    id: str | None
    text: str
    is_whole: bool


def stream(server: LiveServer, prompt: str) -> Seen:
    id_, text, is_whole = None, "", False
    try:
        with httpx.stream("POST", server.url + "/stream-generate", json={"prompt": prompt}, timeout=30) as response:
            if response.status_code != 200:
                return Seen(None, "", is_whole=False)
            id_ = response.headers["X-Request-Id"]
            for line in response.iter_lines():
                value = json.loads(line)
                text += value.get("token", "")
                is_whole = value.get("finish_reason") == "stop"
    except (httpx.TransportError, json.JSONDecodeError):
        pass
    return Seen(id_, text, is_whole)


def kill_at_random(
    server: LiveServer, rng: random.Random, seen: list[Seen], done: threading.Event, kills: list[int]
) -> None:
    """Kill some worker after every `ANSWERS_PER_KILL` whole answers more or less: never faster than workers start,
    however slow the machine is."""
    next_kill = 0.0
    while not done.wait(0.02):
        if sum(one.is_whole for one in seen) >= next_kill and (workers := server.workers()):
            kills.append(rng.choice(workers))
            os.kill(kills[-1], signal.SIGKILL)
            next_kill += rng.uniform(0.5, 1.5) * ANSWERS_PER_KILL


def interactions(vault: Path) -> list[dict[str, Any]]:
    return [record for record in read_records(vault) if record["type"] == "interaction"]


def is_recovered(vault: Path) -> bool:
    """True when no journal of a dead process is left."""
    return all(Path(f"/proc/{file.stem.rpartition('-')[2]}").exists() for file in (vault / "journal").glob("*.jsonl"))


@pytest.fixture
def model(tmp_path: Path) -> Iterator[LocalModel]:
    found = LocalModel(load_settings({"MINIVAULT_HOME": str(tmp_path / "home")}, tmp_path / ".env"), backend)
    found.wait_loaded(30)
    yield found
    found.close()


def run_and_kill(server: LiveServer, num_requests: int, rng: random.Random) -> tuple[list[Seen], list[int]]:
    server.wait_ready()
    seen, done, kills = list[Seen](), threading.Event(), list[int]()
    killer = threading.Thread(target=kill_at_random, args=(server, rng, seen, done, kills))
    prompts = [f"delay=0.004 say {n}: " + "abcdefgh" * rng.randint(1, 6) for n in range(num_requests)]
    with ThreadPoolExecutor(12) as pool:
        killer.start()
        try:
            for _ in pool.map(lambda prompt: seen.append(stream(server, prompt)), prompts):
                pass
        finally:
            done.set()
            killer.join()
    server.wait_for(lambda: is_recovered(server.vault))
    return seen, kills


def check(seen: list[Seen], vault: Path, model: LocalModel) -> Counter[str]:
    records = interactions(vault)
    by_id = {record["id"]: record for record in records}
    assert len(by_id) == len(records), "an interaction stands in the vault twice"
    for one in seen:
        if one.id is None:
            continue
        record = by_id[one.id]
        if one.is_whole:
            assert (record["status"], record["response"]) == ("completed", one.text)
        else:
            assert record["response"].startswith(one.text)
    for record in records:
        if record["status"] == "interrupted":
            assert record["reconstructed"] is True
    report = verify(vault)
    assert report.exit_code in (0, 1), report
    outcomes = Counter(verdict.outcome for verdict in replay(model, records, 16))
    assert not outcomes["different"]
    return outcomes


def test_an_interrupted_stream_is_recorded_with_exactly_what_was_received(tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        server.wait_ready()
        text, killed = "", False
        try:
            with httpx.stream(
                "POST", server.url + "/stream-generate", json={"prompt": "delay=0.1 say " + "Hé! " * 50}, timeout=30
            ) as response:
                id_ = response.headers["X-Request-Id"]
                for line in response.iter_lines():
                    text += json.loads(line).get("token", "")
                    if len(text) == 20 and not killed:
                        os.kill(server.workers()[0], signal.SIGKILL)
                        killed = True
        except httpx.TransportError:
            assert killed
        server.wait_for(lambda: any(record["id"] == id_ for record in interactions(server.vault)))
        (record,) = interactions(server.vault)
        assert (record["status"], record["reconstructed"]) == ("interrupted", True)
        assert record["response"] == text
        assert record["sent"]["bytes"] == len(text.encode())


def test_nothing_is_lost_when_workers_are_killed(tmp_path: Path, model: LocalModel) -> None:
    with live_server(tmp_path, workers=2) as server:
        seen, kills = run_and_kill(server, 80, random.Random(1))
        assert kills
        check(seen, server.vault, model)


@pytest.mark.slow
def test_a_thousand_requests_over_four_workers_survive_random_kills(tmp_path: Path, model: LocalModel) -> None:
    with live_server(tmp_path, workers=4, rate_limit="") as server:
        seen, kills = run_and_kill(server, 1000, random.Random(2))
        outcomes = check(seen, server.vault, model)
        whole = sum(one.is_whole for one in seen)
        print(f"{len(kills)} kills, {whole} whole answers, {len(interactions(server.vault))} records, {dict(outcomes)}")
        assert whole > 300
        assert len(kills) > 5
