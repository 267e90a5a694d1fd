"""Several workers of which some cannot serve: nobody is refused while one can."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.live import GUARD_S, LiveServer, live_server

pytestmark = pytest.mark.server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Three workers, of which one is ready."""
    with live_server(
        tmp_path, workers=3, backend="tests.faults.backends:waits_for_leave", max_waiting=200, rate_limit=""
    ) as server:
        server.wait_ready()
        server.wait_for(lambda: len(server.workers()) == 3)
        yield server
        (tmp_path / "home" / "leave").touch()


def statuses(server: LiveServer, times: int = 150) -> list[int]:
    """Of that many questions, each on a connection of its own."""

    def ask(_: int) -> int:
        return httpx.post(server.url + "/generate", json={"prompt": "say x"}, timeout=30, verify=False).status_code

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(times)))


def state(server: LiveServer) -> str:
    found: str = httpx.get(server.url + "/health", timeout=GUARD_S).json()["status"]
    return found


def test_nobody_is_refused_while_one_of_three_workers_is_ready(server: LiveServer) -> None:
    assert statuses(server) == [200] * 150


def test_when_the_ready_one_dies_the_others_say_that_they_are_loading_until_they_are_not(
    server: LiveServer, tmp_path: Path
) -> None:
    os.kill(int((tmp_path / "home" / "first").read_text()), signal.SIGKILL)
    server.wait_for(lambda: state(server) == "loading")
    assert set(statuses(server, 10)) == {503}
    assert httpx.get(server.url + "/ready").json()["error"]["code"] == "loading"
    (tmp_path / "home" / "leave").touch()
    server.wait_ready()
    assert statuses(server) == [200] * 150


def test_a_connection_to_a_worker_that_is_loading_is_not_kept(server: LiveServer, tmp_path: Path) -> None:
    os.kill(int((tmp_path / "home" / "first").read_text()), signal.SIGKILL)
    server.wait_for(lambda: state(server) == "loading")
    assert httpx.get(server.url + "/health").headers["Connection"] == "close"


def test_a_replacement_that_cannot_load_takes_nothing_from_the_others(tmp_path: Path) -> None:
    with live_server(tmp_path, workers=2, backend="tests.faults.backends:works_twice", rate_limit="") as server:
        server.wait_ready()
        server.wait_for(lambda: server.log.count("model scripted ready") == 2)
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for(lambda: "no room for the weights" in server.log)
        assert statuses(server) == [200] * 150
