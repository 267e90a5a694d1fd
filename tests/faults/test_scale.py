"""Two fronts, two engines elsewhere and one Redis on loopback: one of them goes, and nothing is lost from a vault.

What each client sees is told in docs/scale.md.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from minivault.vault.merged import check_all, node_of
from minivault.vault.reader import read_records
from tests.faults.sites import Stream, ask, engine_process, is_recorded, record_of
from tests.live import GUARD_S, LiveServer, free_port, live_server, until

SERVER = shutil.which("redis-server")
HAS_REDIS = SERVER is not None and importlib.util.find_spec("redis") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_REDIS, reason="no Redis server here: `make faults` installs it"),
]


@dataclass
class Site:
    """Processes of one test."""

    fronts: list[LiveServer]
    engines: dict[str, subprocess.Popen[str]]
    redis: subprocess.Popen[bytes]


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return not sock.connect_ex(("127.0.0.1", port))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        engines = {}
        for _ in range(2):
            url, process = stack.enter_context(engine_process())
            engines[url] = process
        port = free_port()
        assert SERVER is not None
        redis = [SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
        shared = stack.enter_context(subprocess.Popen(redis, stdout=subprocess.DEVNULL))
        stack.callback(shared.kill)
        until(lambda: is_listening(port))
        fronts = []
        for name in ("front1", "front2"):
            (tmp_path / name).mkdir()
            settings = {
                "backend": "upstream",
                "upstream_url": ",".join(engines),
                "upstream_timeout_s": 1,
                "rate_storage": f"redis://127.0.0.1:{port}/0",
                "concurrency_limit": 4,
                "node": name,
            }
            fronts.append(stack.enter_context(live_server(tmp_path / name, **settings)))
        for front in fronts:
            front.wait_ready()
            front.wait_for(lambda front=front: front.log.count(" is up ") == 2)
        yield Site(fronts, engines, shared)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped, as if the net were cut"])
def test_an_engine_that_goes_fails_its_answers_and_takes_no_others(site: Site, sig: signal.Signals) -> None:
    front = site.fronts[0]
    with ExitStack() as stack:
        streams = [Stream(stack, front.url, f"question {number} ") for number in range(4)]
        url, engine = next(iter(site.engines.items()))
        engine.send_signal(sig)
        front.wait_for(lambda: f"the engine at {url} is down" in front.log)
        (worker,) = front.workers()
        front.wait_for(lambda: any(is_recorded(stream, front) for stream in streams))
        gone = [stream for stream in streams if is_recorded(stream, front)]
        for stream in gone:
            stream.read_on()
            assert stream.last["finish_reason"] == "error"
            record = record_of(front, stream.id)
            assert (record["status"], record["response"]) == ("failed", stream.text)
            assert record["upstream"]["server"] == url
        assert worker in front.workers()
    front.wait_for(lambda: httpx.get(front.url + "/health").json()["running"] == 0)
    for number in range(10):
        answered = ask(front.url, f"once {number}")
        assert answered.json()["response"] == f"once {number}"
        assert record_of(front, answered.headers["X-Request-Id"])["upstream"]["server"] != url
    if sig == signal.SIGSTOP:
        engine.send_signal(signal.SIGCONT)
        front.wait_for(lambda: front.log.count(f"the engine at {url} is up") == 2)
    assert [one.exit_code for one in check_all([front.vault for front in site.fronts])] == [0, 0]


def test_generations_are_counted_over_both_fronts_and_a_lost_redis_refuses_nobody(site: Site) -> None:
    one, other = site.fronts
    with ExitStack() as stack:
        running = [Stream(stack, front.url, "on and on ") for front in (one, other, one, other)]
        assert len(running) == 4
        refused = ask(other.url, "once more")
        assert refused.status_code == 429
        assert "generations" in refused.text
        site.redis.kill()
        site.redis.wait(GUARD_S)
        assert ask(other.url, "once more").json()["response"] == "once more"
    for front in site.fronts:
        front.wait_for(lambda front=front: httpx.get(front.url + "/health").json()["running"] == 0)
        assert ask(front.url, "once again").status_code == 200
    assert [one.exit_code for one in check_all([front.vault for front in site.fronts])] == [0, 0]


def test_a_front_that_is_killed_loses_no_word_and_the_other_goes_on(site: Site) -> None:
    one, other = site.fronts
    with ExitStack() as stack:
        stream = Stream(stack, one.url, "on and on ")
        stream.read_some(3)
        (worker,) = one.workers()
        os.kill(worker, signal.SIGKILL)
        assert ask(other.url, "once").json()["response"] == "once"
        stream.read_on()
        assert stream.last.get("done") is None
    record = record_of(one, stream.id)
    assert (record["status"], record["reconstructed"]) == ("interrupted", True)
    assert record["response"].startswith(stream.text)
    assert {node_of(record) for front in site.fronts for record in read_records(front.vault)} == {"front1", "front2"}
    assert [one.exit_code for one in check_all([front.vault for front in site.fronts])] == [0, 0]
