"""Signals, deaths and neighbours: the processes around the model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.raw import Target
from tests.live import GUARD_S, NEVER_S, LiveServer, free_port, live_server, until

pytestmark = pytest.mark.server


class Stream:
    """A streamed answer, read in a thread."""

    def __init__(self, server: LiveServer, prompt: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.is_cut = False
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(server.url, prompt))
        self._thread.start()
        assert self._begun.wait(GUARD_S)

    def _read(self, url: str, prompt: str) -> None:
        try:
            with httpx.stream("POST", url + "/stream-generate", json={"prompt": prompt}, timeout=GUARD_S) as reply:
                for line in reply.iter_lines():
                    self.lines.append(json.loads(line))
                    self._begun.set()
        except (httpx.TransportError, ValueError):
            self.is_cut = True
        finally:
            self._begun.set()

    @property
    def text(self) -> str:
        return "".join(line.get("token", "") for line in self.lines)

    def last(self) -> dict[str, Any]:
        self.join()
        return self.lines[-1]

    def join(self) -> None:
        self._thread.join(GUARD_S)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_idle_server_has_no_thread_before_the_fork_and_stops_at_once(tmp_path: Path) -> None:
    """Rows 27 and 45: a lock held by a thread at the fork would be held for ever in the child."""
    with live_server(tmp_path, graceful_timeout_s=NEVER_S) as server:
        server.wait_ready()
        assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == 1
        assert server.stop() == 0


def test_a_full_queue_is_answered_before_the_server_stops(tmp_path: Path) -> None:
    """Row 27."""
    with live_server(tmp_path, max_running=1, max_waiting=4) as server, ThreadPoolExecutor(5) as pool:
        server.wait_ready()
        target = Target(server)
        replies = [pool.submit(target.post, {"prompt": "delay=0.05 say abcdef"}) for _ in range(5)]
        server.wait_for(lambda: sum(target.health()[part] for part in ("running", "waiting")) == 5)
        assert server.stop() == 0
        finished = [reply.result() for reply in replies]
        assert {reply.status_code for reply in finished} <= {200, 503}
        assert all(
            reply.json()["finish_reason"] in ("stop", "shutdown") for reply in finished if reply.status_code == 200
        )
        assert len(target.records()) == 5


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]], ids=["SIGINT twice", "SIGQUIT"])
def test_an_impatient_stop_is_quick_and_leaves_a_whole_log(tmp_path: Path, signals: list[int]) -> None:
    """Row 28."""
    with live_server(tmp_path, graceful_timeout_s=NEVER_S) as server:
        server.wait_ready()
        stream = Stream(server, "delay=0.05 say " + "a" * 500)
        for number in signals:
            server.process.send_signal(number)
            server.wait_for_signal()
        server.wait_ended()
        stream.join()
        assert all(record["response"].startswith("a") for record in Target(server).records())


def test_a_reload_loses_no_request_that_could_finish(tmp_path: Path) -> None:
    """Row 29. While both generations of workers live there are two models in memory: documented."""
    with live_server(tmp_path, graceful_timeout_s=20) as server:
        server.wait_ready()
        target = Target(server)
        before = server.workers()
        stream = Stream(server, "delay=0.05 say " + "a" * 40)
        server.process.send_signal(signal.SIGHUP)
        statuses: list[int] = []

        def is_reloaded() -> bool:
            statuses.append(target.post({"prompt": "say x"}).status_code)
            return not set(server.workers()) & set(before)

        server.wait_for(is_reloaded)
        assert (stream.last()["finish_reason"], stream.text) == ("stop", "a" * 40)
        assert set(statuses) <= {200, 503}, statuses  # 503 `loading` or `draining` may be asked again
        assert statuses.count(200) > 0
        server.wait_ready()
        assert target.answer("say after") == "after"


def test_a_killed_worker_is_replaced_and_its_stream_is_recorded_once(tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        server.wait_ready()
        target = Target(server)
        [worker] = server.workers()
        stream = Stream(server, "delay=0.05 say " + "a" * 500)
        os.kill(worker, signal.SIGKILL)
        stream.join()
        assert stream.is_cut or "done" not in stream.lines[-1], "a cut body must not look whole"
        server.wait_for(lambda: worker not in server.workers() and len(server.workers()) == 1)
        server.wait_ready()
        server.wait_for(lambda: len(target.records()) == 1)
        [record] = target.records()
        assert record["status"] == "interrupted"
        assert record["response"] == stream.text


@pytest.mark.slow
def test_workers_of_a_killed_arbiter_stop_and_the_port_can_be_bound_again(tmp_path: Path) -> None:
    """Row 31."""
    port = free_port()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with live_server(tmp_path / "one", bind=f"127.0.0.1:{port}") as server:
        _on_port(server, port).wait_ready()
        workers = server.workers()
        server.process.kill()
        server.wait_ended()
        until(lambda: not any(map(is_alive, workers)))
    with live_server(tmp_path / "two", bind=f"127.0.0.1:{port}") as server:
        _on_port(server, port).wait_ready()
        assert server.stop() == 0


def _on_port(server: LiveServer, port: int) -> LiveServer:
    server.url = f"http://127.0.0.1:{port}"
    return server


@pytest.mark.slow
def test_a_stopped_worker_is_replaced_and_no_record_is_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 32."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--timeout 2")
    with live_server(tmp_path) as server:
        server.wait_ready()
        target = Target(server)
        target.answer("say one")
        [worker] = server.workers()
        os.kill(worker, signal.SIGSTOP)
        server.wait_for(lambda: worker not in server.workers() and len(server.workers()) == 1)
        server.wait_ready()
        target.answer("say two")
        sequence = [json.loads(line)["seq"] for line in (server.vault / "log.jsonl").read_text("ascii").splitlines()]
        assert sequence == sorted(set(sequence))
        assert [record["response"] for record in target.records()] == ["one", "two"]


@pytest.mark.slow
def test_a_load_slower_than_its_limit_is_given_up_by_us_and_not_killed_by_gunicorn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 24."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--timeout 2")
    with live_server(tmp_path, backend="tests.scripted:endless_backend", load_timeout_s=3) as server:
        server.wait_up()
        workers = server.workers()
        target = Target(server)
        assert httpx.get(server.url + "/ready").status_code == 503
        server.wait_for(lambda: target.health()["status"] == "failed")
        assert "MINIVAULT_LOAD_TIMEOUT_S=3" in server.log
        assert server.workers() == workers


@pytest.mark.slow
def test_a_replacement_that_cannot_load_leaves_the_other_worker_serving(tmp_path: Path) -> None:
    """Row 25."""
    with live_server(tmp_path, backend="tests.faults.backends:works_twice", workers=2) as server:
        server.wait_ready()
        server.wait_for(lambda: len(list((tmp_path / "home" / "loads").iterdir())) == 2)
        server.wait_ready()
        victim, survivor = server.workers()
        os.kill(victim, signal.SIGKILL)
        server.wait_for(lambda: "no room for the weights" in server.log)
        assert survivor in server.workers()
        target = Target(server)
        replies = [target.post({"prompt": "say x"}) for _ in range(40)]
        assert {reply.status_code for reply in replies} <= {200, 503}
        assert any(reply.status_code == 200 for reply in replies)
        assert all(reply.json()["error"]["code"] == "load_failed" for reply in replies if reply.status_code == 503)


def test_workers_that_are_killed_while_loading_are_replaced_ever_more_slowly(tmp_path: Path) -> None:
    """Row 26."""
    with live_server(tmp_path, backend="tests.faults.backends:killed", graceful_timeout_s=NEVER_S) as server:
        server.wait_for(lambda: "3 workers in a row died" in server.log)
        assert "lack of memory" in server.log
        num_loads = len(list((tmp_path / "home" / "loads").iterdir()))
        assert num_loads == 3
        assert httpx.get(server.url + "/ready", timeout=GUARD_S).json()["error"]["code"] == "loading"
        server.stop()


@pytest.mark.slow
def test_a_second_server_on_the_same_port_gives_up_with_a_reason(tmp_path: Path) -> None:
    """Row 42."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with live_server(tmp_path / "one") as first:
        first.wait_ready()
        with live_server(tmp_path / "two", bind=first.url.removeprefix("http://")) as second:
            assert second.wait_ended() != 0
            assert "in use" in second.log
        assert Target(first).answer("say still here") == "still here"


@pytest.mark.slow
def test_two_servers_of_one_user_work_side_by_side_on_one_vault(tmp_path: Path) -> None:
    """Row 42: nothing of gunicorn's is shared, and the vault takes any number of writers."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    shared = {"home": tmp_path / "home", "log_dir": tmp_path / "vault"}
    with live_server(tmp_path / "one", **shared) as first, live_server(tmp_path / "two", **shared) as second:
        for server in (first, second):
            server.wait_ready()
            assert Target(server).answer("say hello") == "hello"
        first.stop()
        assert Target(second).answer("say hello again") == "hello again"
        assert [record["response"] for record in Target(second).records()] == ["hello", "hello", "hello again"]


def test_an_exposed_bind_without_a_key_is_refused_with_one_line(tmp_path: Path) -> None:
    with live_server(tmp_path, bind=f"0.0.0.0:{free_port()}") as server:
        assert server.wait_ended() == 3
        [line] = [line for line in server.log.splitlines() if "[INFO]" not in line]
        assert "minivault keys create" in line


def test_the_server_process_can_reach_no_other_machine(tmp_path: Path) -> None:
    """`MINIVAULT_OFFLINE`: a model whose loading opens a connection does not load."""
    with live_server(tmp_path, backend="tests.faults.backends:calls_home") as server:
        server.wait_up()
        server.wait_for(lambda: Target(server).health()["status"] == "failed")
        assert "MINIVAULT_OFFLINE=1 refuses" in server.log


@pytest.mark.slow
def test_the_vault_verifies_after_all_of_it(tmp_path: Path) -> None:
    """Row 27: kill, stop and start again; what is on record is whole."""
    for _ in range(2):
        with live_server(tmp_path) as server:
            server.wait_ready()
            stream = Stream(server, "delay=0.02 say " + "a" * 100)
            os.kill(server.workers()[0], signal.SIGKILL)
            stream.join()
            server.wait_for(lambda: len(server.workers()) == 1)
            server.wait_ready()
            Target(server).answer("say x")
            server.stop()
    environ = {**os.environ, "MINIVAULT_HOME": str(tmp_path / "home"), "MINIVAULT_LOG_DIR": str(tmp_path / "vault")}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "minivault", "vault", "verify"]
    project = Path(__file__).resolve().parent.parent.parent
    result = subprocess.run(
        command, env=environ, cwd=project, capture_output=True, text=True, timeout=GUARD_S, check=False
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
