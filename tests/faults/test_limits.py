"""Keys and limits over two worker processes, and what happens to them when their files are taken away."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.access.keys import KeyFile, NewKey
from tests.faults.raw import Target
from tests.live import GUARD_S, live_server, until

pytestmark = pytest.mark.server
NUM_REVOKED_TRIES = 8


class Keyed(Target):
    """A server that needs keys, with the file they are in."""

    def __init__(self, server: Any, home: Path) -> None:
        super().__init__(server)
        self.home = home
        self.keys = KeyFile(home / "keys.json")
        self.limits_file = home / "run" / "limits.sqlite3"

    def key(self, name: str, **options: Any) -> dict[str, str]:
        [(_, token)] = self.keys.create(NewKey(name, **options))
        return {"Authorization": f"Bearer {token}"}

    def statuses(self, times: int, headers: dict[str, str], prompt: str = "say x") -> list[httpx.Response]:
        with (
            httpx.Client(base_url=self.server.url, headers=headers, timeout=GUARD_S) as client,
            ThreadPoolExecutor(8) as pool,
        ):
            return list(pool.map(lambda _: client.post("/generate", json={"prompt": prompt}), range(times)))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with two_workers(tmp_path_factory.mktemp("limits")) as found:
        yield found


@contextmanager
def two_workers(directory: Path) -> Iterator[Keyed]:
    home = directory / "home"
    KeyFile(home / "keys.json").create(NewKey("first"))
    with live_server(directory, workers=2, max_waiting=64, concurrency_limit=2, auth_failure_limit="30/hour") as server:
        server.wait_ready()
        server.wait_for(lambda: server.log.count("scripted ready in") == 2)
        yield Keyed(server, home)


def test_a_limit_over_two_workers_admits_exactly_as_many_as_it_says(keyed: Keyed) -> None:
    """Row 16."""
    replies = keyed.statuses(70, keyed.key("limited", rate="40/hour"))
    admitted = [reply for reply in replies if reply.headers["X-RateLimit-Remaining"] and reply.status_code != 429]
    refused = [reply for reply in replies if "policy" in reply.json().get("error", {})]
    by_rate = [reply for reply in refused if reply.json()["error"]["policy"] == "requests"]
    assert (len(by_rate), len(replies) - len(by_rate)) == (30, 40)
    assert admitted
    for reply in by_rate:
        assert 1 <= int(reply.headers["Retry-After"]) <= 3600
        assert reply.headers["RateLimit"].startswith('"requests";r=0;t=')
        assert reply.headers["RateLimit-Policy"] == '"requests";q=40;w=3600'


def test_a_limit_is_full_again_when_its_window_ends(keyed: Keyed) -> None:
    """Row 16."""
    headers = keyed.key("windowed", rate="1/4second")
    first, second = keyed.statuses(2, headers)
    assert sorted([first.status_code, second.status_code]) == [200, 429]
    until(lambda: keyed.statuses(1, headers)[0].status_code == 200)


def test_tokens_are_limited_by_what_was_really_used(keyed: Keyed) -> None:
    headers = keyed.key("frugal", tokens_per_day=30)
    replies = [keyed.statuses(1, headers, "say abcdef")[0] for _ in range(4)]  # 10 + 7 tokens each
    assert [reply.status_code for reply in replies] == [200, 200, 429, 429]
    error = replies[-1].json()["error"]
    assert (error["policy"], error["limit"], error["remaining"], error["window_s"]) == ("tokens", 30, 0, 86400)


def test_generations_at_once_are_limited_over_both_workers(keyed: Keyed) -> None:
    headers = keyed.key("parallel")
    replies = keyed.statuses(8, headers, "delay=0.1 say abcdef")
    statuses = sorted(reply.status_code for reply in replies)
    refused = [reply.json()["error"]["policy"] for reply in replies if reply.status_code == 429]
    assert statuses.count(200) >= 2
    assert set(refused) == {"generations"}
    assert keyed.statuses(1, headers)[0].status_code == 200, "places come back"


def test_a_client_that_leaves_gives_its_place_back(keyed: Keyed) -> None:
    headers = keyed.key("fickle")
    for _ in range(4):
        with httpx.Client(timeout=httpx.Timeout(GUARD_S, read=0.2)) as client, suppress(httpx.ReadTimeout):
            client.post(keyed.server.url + "/generate", json={"prompt": "delay=0.2 say " + "a" * 50}, headers=headers)
    keyed.server.wait_for(lambda: keyed.statuses(1, headers)[0].status_code == 200)


def test_a_revoked_key_is_refused_from_then_on_by_every_worker(keyed: Keyed) -> None:
    """Row 15."""
    headers = keyed.key("leaver")
    assert {reply.status_code for reply in keyed.statuses(2, headers)} == {200}
    keyed.keys.revoke("leaver")
    assert {reply.status_code for reply in keyed.statuses(NUM_REVOKED_TRIES, headers)} == {401}


def test_a_thousand_bad_keys_get_one_401_then_429_and_leave_no_trace_of_a_key(keyed: Keyed) -> None:
    """Row 15."""
    good = keyed.key("patient")
    guess = "mv_aaaaaaaaaaaa_" + "GUESS" * 8 + "xyz"
    wrong = [{"Authorization": f"Bearer {guess}"}, {"Authorization": "Bearer nonsense"}, {}]
    with httpx.Client(base_url=keyed.server.url, timeout=GUARD_S) as client:
        replies = [client.get("/health?api_key=" + guess, headers=wrong[number % 3]) for number in range(1000)]
        statuses = [reply.status_code for reply in replies]
        assert set(statuses) == {401, 429}
        assert statuses.count(401) <= 30
        bodies = {
            json.dumps({**reply.json()["error"], "request_id": ""}) for reply in replies if reply.status_code == 401
        }
        assert len(bodies) == 1
        assert client.get("/health", headers=good).status_code == 200, "who has a key is not locked out"
    lines = (keyed.server.vault / "log.jsonl").read_text("ascii").splitlines()
    failures = [record for record in map(json.loads, lines) if record["type"] == "auth_failed"]
    assert len(failures) == statuses.count(401) + NUM_REVOKED_TRIES
    assert {record["reason"] for record in failures} == {"no key", "no valid key"}
    vault = b"".join(path.read_bytes() for path in keyed.server.vault.rglob("*") if path.is_file())
    for place in (keyed.server.log.encode(), vault):
        assert b"GUESS" not in place
        assert good["Authorization"].split("_", 2)[2].encode() not in place


@pytest.fixture
def limits_file(keyed: Keyed) -> Path:
    return keyed.limits_file


def test_a_locked_rate_store_refuses_nobody(tmp_path: Path) -> None:
    """Row 17. A server of its own: after a fault the store is left alone for a while."""
    with two_workers(tmp_path) as keyed:
        headers = keyed.key("locked out")
        assert keyed.statuses(1, headers)[0].status_code == 200
        with closing(sqlite3.connect(keyed.limits_file, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            replies = [keyed.statuses(1, headers)[0] for _ in range(8)]
            assert {reply.status_code for reply in replies} == {200}
        assert "rate limits are per worker" in keyed.server.log
        metrics = httpx.get(keyed.server.url + "/metrics", headers=headers).text
    assert float(re.findall(r"(?m)^minivault_rate_storage_failures_total (\S+)", metrics)[0]) >= 1


def test_a_deleted_rate_store_is_begun_anew(keyed: Keyed, limits_file: Path) -> None:
    """Row 17."""
    headers = keyed.key("deleted", rate="20/hour")
    keyed.statuses(5, headers)
    for path in limits_file.parent.glob("limits.sqlite3*"):
        path.unlink()
    replies = [keyed.statuses(1, headers)[0] for _ in range(30)]
    assert [reply.status_code for reply in replies] == [200] * 20 + [429] * 10


def test_a_corrupt_rate_store_is_set_aside(keyed: Keyed, limits_file: Path) -> None:
    """Row 17."""
    headers = keyed.key("corrupt")
    with limits_file.open("r+b") as file:
        file.write(b"\xde\xad\xbe\xef" * 1000)
    assert {reply.status_code for reply in [keyed.statuses(1, headers)[0] for _ in range(10)]} == {200}


def test_a_read_only_rate_store_refuses_nobody(keyed: Keyed, limits_file: Path) -> None:
    """Row 17. (The superuser may write all the same; then this only shows that nothing else breaks.)"""
    headers = keyed.key("read only")
    limits_file.chmod(0o400)
    try:
        assert {reply.status_code for reply in [keyed.statuses(1, headers)[0] for _ in range(10)]} == {200}
    finally:
        limits_file.chmod(0o600)


def test_a_damaged_key_file_admits_nobody_and_says_so_until_it_is_whole(keyed: Keyed) -> None:
    headers = keyed.key("unlucky")
    path = keyed.home / "keys.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        reply = keyed.statuses(1, headers)[0]
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "unavailable")
    finally:
        path.write_bytes(whole)
    assert keyed.statuses(1, headers)[0].status_code == 200
