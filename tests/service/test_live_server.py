"""The server as a process: loading, saturation, disconnects, shutdown. Over a real gunicorn with a scripted model."""

from __future__ import annotations

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import LiveServer, live_server

pytestmark = pytest.mark.server


def ask(server: LiveServer, prompt: str, timeout_s: float = 30) -> httpx.Response:
    return httpx.post(server.url + "/generate", json={"prompt": prompt}, timeout=timeout_s)


def health(server: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(server.url + "/health", timeout=5).json()
    return found


def records(server: LiveServer) -> list[dict[str, Any]]:
    lines = (server.vault / "log.jsonl").read_text("ascii").splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "interaction"]


def test_while_the_model_loads_the_server_answers_and_says_so(tmp_path: Path) -> None:
    with live_server(tmp_path, backend="tests.scripted:slow_backend") as server:
        server.wait_up()
        assert health(server)["status"] == "loading"
        for response in (httpx.get(server.url + "/ready"), ask(server, "say x")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "loading"
            assert int(response.headers["Retry-After"]) >= 1
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 3, "SIGTERM while loading stops at once"


def test_a_failed_load_is_one_line_and_does_not_respawn(tmp_path: Path) -> None:
    with live_server(tmp_path, backend="tests.scripted:broken_backend") as server:
        server.wait_up()
        server.wait_for(lambda: health(server)["status"] == "failed")
        workers = server.workers()
        ready = httpx.get(server.url + "/ready")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "load_failed")
        assert server.log.count("no room for the weights") == 1
        assert "Traceback" not in server.log
        assert server.workers() == workers


def test_a_missing_model_is_refused_at_start_with_one_line(tmp_path: Path) -> None:
    with live_server(tmp_path, backend="local", model="distilgpt2") as server:
        assert server.process.wait(30) == 3
        (line,) = [line for line in server.log.splitlines() if "[INFO]" not in line]
        assert "flask minivault models pull distilgpt2" in line


def test_a_bad_setting_is_refused_at_start_with_one_line(tmp_path: Path) -> None:
    with live_server(tmp_path, threads="many") as server:
        assert server.process.wait(30) == 3
        assert "MINIVAULT_THREADS='many'" in server.log
        assert "Traceback" not in server.log


def test_a_full_server_says_so_within_100_ms_and_health_still_answers(tmp_path: Path) -> None:
    with live_server(tmp_path, max_running=2, max_waiting=1) as server, ThreadPoolExecutor(3) as pool:
        server.wait_ready()
        slow = [pool.submit(ask, server, "delay=0.1 say " + "a" * 20) for _ in range(3)]
        server.wait_for(lambda: health(server)["running"] + health(server)["waiting"] == 3)
        took = []
        for _ in range(5):
            started = time.monotonic()
            refused = ask(server, "say x")
            took.append(time.monotonic() - started)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            assert refused.headers["Retry-After"] == "1"
        assert sorted(took)[2] < 0.1
        assert health(server)["status"] == "ok"
        assert [answer.result().json()["response"] for answer in slow] == ["a" * 20] * 3
        assert ask(server, "say x").status_code == 200


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param("delay=0.1 say " + "a" * 300, id="while streaming"),
        pytest.param("prefill=3 say aaa", id="during prefill"),
    ],
)
def test_a_client_that_leaves_frees_its_slot(tmp_path: Path, prompt: str) -> None:
    with live_server(tmp_path, max_running=1, max_waiting=1) as server:
        server.wait_ready()
        with httpx.Client(timeout=httpx.Timeout(10, read=0.7)) as client, pytest.raises(httpx.ReadTimeout):
            client.post(server.url + "/generate", json={"prompt": prompt})
        started = time.monotonic()
        server.wait_for(lambda: health(server)["running"] == 0)
        assert time.monotonic() - started < 4
        server.wait_for(lambda: len(records(server)) == 1)
        assert records(server)[0]["status"] == "cancelled"


def test_a_client_that_leaves_the_queue_never_reaches_the_model(tmp_path: Path) -> None:
    with live_server(tmp_path, max_running=1, max_waiting=1) as server, ThreadPoolExecutor(1) as pool:
        server.wait_ready()
        first = pool.submit(ask, server, "delay=0.1 say " + "a" * 20)
        server.wait_for(lambda: health(server)["running"] == 1)
        with httpx.Client(timeout=httpx.Timeout(10, read=0.3)) as client, pytest.raises(httpx.ReadTimeout):
            client.post(server.url + "/generate", json={"prompt": "say never"})
        server.wait_for(lambda: health(server)["waiting"] == 0, 1)
        assert first.result().json()["response"] == "a" * 20
        cancelled = next(record for record in records(server) if record["status"] == "cancelled")
        assert (cancelled["prompt"], cancelled["response"]) == ("say never", "")


def stream_lines(server: LiveServer, prompt: str, into: list[dict[str, Any]], begun: threading.Event) -> None:
    with httpx.stream("POST", server.url + "/stream-generate", json={"prompt": prompt}, timeout=60) as response:
        for line in response.iter_lines():
            into.append(json.loads(line))
            begun.set()


def stop_while_streaming(server: LiveServer, prompt: str, sig: int) -> tuple[list[dict[str, Any]], int, float]:
    lines: list[dict[str, Any]] = []
    begun = threading.Event()
    thread = threading.Thread(target=stream_lines, args=(server, prompt, lines, begun))
    thread.start()
    assert begun.wait(20)
    started = time.monotonic()
    status = server.stop(sig)
    took = time.monotonic() - started
    thread.join(10)
    return lines, status, took


def test_sigterm_lets_a_stream_that_ends_in_time_finish(tmp_path: Path) -> None:
    with live_server(tmp_path, graceful_timeout_s=8) as server:
        server.wait_ready()
        lines, status, _ = stop_while_streaming(server, "delay=0.1 say " + "a" * 15, signal.SIGTERM)
        assert (lines[-1]["done"], lines[-1]["finish_reason"], status) == (True, "stop", 0)
        assert len(lines) == 16


def test_sigterm_ends_a_longer_stream_with_a_proper_last_line(tmp_path: Path) -> None:
    with live_server(tmp_path, graceful_timeout_s=6) as server:
        server.wait_ready()
        lines, status, took = stop_while_streaming(server, "delay=0.1 say " + "a" * 600, signal.SIGTERM)
        assert (lines[-1]["done"], lines[-1]["finish_reason"], status) == (True, "shutdown", 0)
        assert took < 6
        (record,) = records(server)
        assert record["response"] == "".join(line.get("token", "") for line in lines)


def test_sigint_ends_streams_at_once(tmp_path: Path) -> None:
    with live_server(tmp_path, graceful_timeout_s=20) as server:
        server.wait_ready()
        lines, _, took = stop_while_streaming(server, "delay=0.1 say " + "a" * 600, signal.SIGINT)
        assert (lines[-1]["done"], lines[-1]["finish_reason"]) == (True, "shutdown")
        assert took < 5


def test_two_workers_write_one_log(tmp_path: Path) -> None:
    with live_server(tmp_path, workers=2) as server, ThreadPoolExecutor(8) as pool:
        server.wait_ready()
        server.wait_for(lambda: len(server.workers()) == 2)
        answers = list(pool.map(lambda n: ask(server, f"say {n}"), range(40)))
        done = [answer for answer in answers if answer.status_code == 200]
        assert len(done) >= 38
        by_id = {record["id"]: record for record in records(server)}
        assert all(by_id[answer.json()["id"]]["response"] == answer.json()["response"] for answer in done)
        assert health(server)["requests"] == len(by_id)
