"""The server as a process: loading, saturation, disconnects, shutdown. Over a real gunicorn with a scripted model."""

from __future__ import annotations

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import GUARD_S, NEVER_S, LiveServer, live_server

pytestmark = pytest.mark.server


def ask(server: LiveServer, prompt: str, **more: object) -> httpx.Response:
    return httpx.post(server.url + "/generate", json={"prompt": prompt, **more}, timeout=GUARD_S)


def health(server: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(server.url + "/health", timeout=GUARD_S).json()
    return found


def records(server: LiveServer) -> list[dict[str, Any]]:
    lines = (server.vault / "log.jsonl").read_text("ascii").splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "interaction"]


def test_while_the_model_loads_the_server_answers_and_says_so(tmp_path: Path) -> None:
    with live_server(tmp_path, backend="tests.scripted:endless_backend", graceful_timeout_s=NEVER_S) as server:
        server.wait_up()
        assert health(server)["status"] == "loading"
        for response in (httpx.get(server.url + "/ready"), ask(server, "say x")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "loading"
            assert int(response.headers["Retry-After"]) >= 1
        assert server.stop() == 0, "SIGTERM while loading stops at once"


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
        assert server.wait_ended() == 3
        (line,) = [line for line in server.log.splitlines() if "[INFO]" not in line]
        assert "minivault models pull distilgpt2" in line


def test_a_bad_setting_is_refused_at_start_with_one_line(tmp_path: Path) -> None:
    with live_server(tmp_path, threads="many") as server:
        assert server.wait_ended() == 3
        assert "MINIVAULT_THREADS='many'" in server.log
        assert "Traceback" not in server.log


def test_a_full_server_says_so_at_once_and_health_still_answers(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    with live_server(tmp_path, max_running=2, max_waiting=1) as server, ThreadPoolExecutor(3) as pool:
        server.wait_ready()
        slow = [pool.submit(ask, server, f"delay=0.05 until={ended} say a", max_tokens=2000) for _ in range(3)]
        server.wait_for(lambda: health(server)["running"] + health(server)["waiting"] == 3)
        for _ in range(5):
            refused = ask(server, "say x")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            assert refused.headers["Retry-After"] == "1"
        found = health(server)
        assert (found["status"], found["running"], found["waiting"]) == ("ok", 2, 1), "nobody had to end first"
        ended.touch()
        assert {answer.result().json()["finish_reason"] for answer in slow} == {"stop"}
        assert ask(server, "say x").status_code == 200


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param("delay=0.1 say " + "a" * 200, id="while streaming"),
        pytest.param("prefill=2 delay=0.1 say " + "a" * 200, id="during prefill"),
    ],
)
def test_a_client_that_leaves_frees_its_slot(tmp_path: Path, prompt: str) -> None:
    with live_server(tmp_path, max_running=1, max_waiting=1) as server:
        server.wait_ready()
        with httpx.Client(timeout=httpx.Timeout(GUARD_S, read=0.7)) as client, pytest.raises(httpx.ReadTimeout):
            client.post(server.url + "/generate", json={"prompt": prompt})
        server.wait_for(lambda: health(server)["running"] == 0)
        server.wait_for(lambda: len(records(server)) == 1)
        (record,) = records(server)
        assert record["status"] == "cancelled"
        assert len(record["response"]) < 200


def test_a_client_that_leaves_the_queue_never_reaches_the_model(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    with live_server(tmp_path, max_running=1, max_waiting=1) as server, ThreadPoolExecutor(1) as pool:
        server.wait_ready()
        first = pool.submit(ask, server, f"delay=0.05 until={ended} say a", max_tokens=2000)
        server.wait_for(lambda: health(server)["running"] == 1)
        with httpx.Client(timeout=httpx.Timeout(GUARD_S, read=0.3)) as client, pytest.raises(httpx.ReadTimeout):
            client.post(server.url + "/generate", json={"prompt": "say never"})
        server.wait_for(lambda: health(server)["waiting"] == 0)
        ended.touch()
        assert first.result().json()["finish_reason"] == "stop"
        cancelled = next(record for record in records(server) if record["status"] == "cancelled")
        assert (cancelled["prompt"], cancelled["response"]) == ("say never", "")


def stream_lines(server: LiveServer, prompt: str, into: list[dict[str, Any]], begun: threading.Event) -> None:
    with httpx.stream("POST", server.url + "/stream-generate", json={"prompt": prompt}, timeout=GUARD_S) as response:
        for line in response.iter_lines():
            into.append(json.loads(line))
            begun.set()


def stop_while_streaming(
    server: LiveServer, prompt: str, sig: int, ended: Path | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The stream's lines and the exit status; `ended` is made as soon as the server has heard the signal."""
    lines: list[dict[str, Any]] = []
    begun = threading.Event()
    thread = threading.Thread(target=stream_lines, args=(server, prompt, lines, begun))
    thread.start()
    assert begun.wait(GUARD_S)
    server.process.send_signal(sig)
    server.wait_for_signal()
    if ended is not None:
        ended.touch()
    status = server.wait_ended()
    thread.join(GUARD_S)
    return lines, status


def test_sigterm_lets_a_stream_that_ends_in_time_finish(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    with live_server(tmp_path, graceful_timeout_s=NEVER_S) as server:
        server.wait_ready()
        lines, status = stop_while_streaming(server, f"delay=0.05 until={ended} say a", signal.SIGTERM, ended)
        assert (lines[-1]["done"], lines[-1]["finish_reason"], status) == (True, "stop", 0)


def test_sigterm_ends_a_longer_stream_with_a_proper_last_line(tmp_path: Path) -> None:
    """After the grace period gunicorn would kill the worker, and there would be no last line."""
    with live_server(tmp_path, graceful_timeout_s=8) as server:
        server.wait_ready()
        lines, status = stop_while_streaming(server, "delay=0.1 say " + "a" * 250, signal.SIGTERM)
        assert (lines[-1]["done"], lines[-1]["finish_reason"], status) == (True, "shutdown", 0)
        (record,) = records(server)
        assert record["response"] == "".join(line.get("token", "") for line in lines)


def test_sigint_ends_streams_at_once(tmp_path: Path) -> None:
    with live_server(tmp_path, graceful_timeout_s=NEVER_S) as server:
        server.wait_ready()
        lines, _ = stop_while_streaming(server, "delay=0.1 say " + "a" * 250, signal.SIGINT)
        assert (lines[-1]["done"], lines[-1]["finish_reason"]) == (True, "shutdown")


def test_two_workers_write_one_log(tmp_path: Path) -> None:
    with live_server(tmp_path, workers=2) as server, ThreadPoolExecutor(8) as pool:
        server.wait_ready()
        server.wait_for(lambda: server.log.count("scripted ready in") == 2)
        answers = list(pool.map(lambda n: ask(server, f"say {n}"), range(40)))
        assert {answer.status_code for answer in answers} == {200}
        by_id = {record["id"]: record for record in records(server)}
        assert all(by_id[answer.json()["id"]]["response"] == answer.json()["response"] for answer in answers)
        assert health(server)["requests"] == len(by_id)
