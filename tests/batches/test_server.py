"""Batches over a real server: killed in the middle, stopped in the middle, with two workers, beside other people."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.vault.reader import read_records
from minivault.vault.verify import verify
from tests.live import LiveServer, live_server

pytestmark = pytest.mark.server
URL = "/v1/completions"


def lines(num: int, prompt: str) -> bytes:
    body = {"model": "scripted", "max_tokens": 400}
    return b"".join(
        json.dumps(
            {"custom_id": f"r{n}", "method": "POST", "url": URL, "body": body | {"prompt": prompt.format(n=n)}}
        ).encode()
        + b"\n"
        for n in range(num)
    )


def begin(server: LiveServer, content: bytes, **headers: str) -> str:
    files = {"file": ("in.jsonl", content)}
    file = httpx.post(server.url + "/v1/files", files=files, data={"purpose": "batch"}, headers=headers).json()
    body = {"input_file_id": file["id"], "endpoint": URL, "completion_window": "24h"}
    batch: dict[str, Any] = httpx.post(server.url + "/v1/batches", json=body, headers=headers).json()
    return str(batch["id"])


def state(server: LiveServer, batch_id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = httpx.get(f"{server.url}/v1/batches/{batch_id}", timeout=30).json()
    except httpx.TransportError:
        return {"status": "unknown"}
    return found


def has_done(directory: Path, num: int) -> bool:
    """Whether so many output lines are on the disk."""
    folder = directory / "home" / "batches"
    facts = {path.stem for path in folder.glob("file-*.json")}
    results = [path for path in folder.glob("file-*") if path.suffix == "" and path.stem not in facts]
    return sum(path.read_bytes().count(b"\n") for path in results) >= num


def check(server: LiveServer, batch_id: str, num: int, answer: str) -> list[dict[str, Any]]:
    """Every request is answered once, in output and vault alike; the interactions."""
    server.wait_for(lambda: state(server, batch_id)["status"] == "completed")
    batch = state(server, batch_id)
    assert batch["request_counts"] == {"total": num, "completed": num, "failed": 0}, batch
    assert batch["error_file_id"] is None
    text = httpx.get(f"{server.url}/v1/files/{batch['output_file_id']}/content").text
    output = [json.loads(line) for line in text.splitlines()]
    assert Counter(line["custom_id"] for line in output) == Counter(f"r{n}" for n in range(num))
    records = [record for record in read_records(server.vault) if record["type"] == "interaction"]
    by_id = {record["id"]: record for record in records}
    for line in output:
        body = line["response"]["body"]
        assert body["choices"][0]["text"] == answer.format(n=line["custom_id"][1:])
        record = by_id[line["response"]["request_id"]]
        assert (record["status"], record["batch"]["custom_id"]) == ("completed", line["custom_id"])
    assert verify(server.vault).exit_code in (0, 1)
    left = sorted(path.name for path in (server.vault.parent / "home" / "batches").glob("batch_*"))
    assert left == [f"{batch_id}.json"]
    return records


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_s_batch_is_gone_on_with(tmp_path: Path, workers: int) -> None:
    with live_server(tmp_path, rate_limit="", workers=workers) as server:
        server.wait_ready()
        batch_id = begin(server, lines(40, "delay=0.01 say answer {n}"))
        for num in (5, 15, 25):
            server.wait_for(partial(has_done, tmp_path, num))
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
        records = check(server, batch_id, 40, "answer {n}")
        completed = [record for record in records if record["status"] == "completed"]
        assert len(completed) <= 40 + 3 * 2 * workers  # at most those that were under way are made again
        seeds = {record["batch"]["custom_id"]: record["seed"] for record in records}
        assert all(record["seed"] == seeds[record["batch"]["custom_id"]] for record in records)


def test_a_stopped_server_s_batch_is_gone_on_with(tmp_path: Path) -> None:
    with live_server(tmp_path, rate_limit="", graceful_timeout_s=2) as server:
        server.wait_ready()
        batch_id = begin(server, lines(4, "delay=0.05 say " + "x" * 60 + " {n}"))
        server.wait_for(lambda: httpx.get(server.url + "/health").json()["running"])
        assert server.stop() == 0
    assert "Traceback" not in server.log
    with live_server(tmp_path, rate_limit="") as server:
        server.wait_ready()
        records = check(server, batch_id, 4, "x" * 60 + " {n}")
        assert {record["finish_reason"] for record in records} == {"stop", "shutdown"}


def test_two_workers_do_two_batches_and_none_twice(tmp_path: Path) -> None:
    with live_server(tmp_path, rate_limit="", workers=2) as server:
        server.wait_ready()
        ids = [begin(server, lines(12, f"delay=0.01 say {name} {{n}}")) for name in ("one", "two")]
        server.wait_for(lambda: all(state(server, batch_id)["status"] == "completed" for batch_id in ids))
        answers = [record for record in read_records(server.vault) if record["type"] == "interaction"]
        assert len(answers) == 24
        assert {record["status"] for record in answers} == {"completed"}


def test_a_request_that_somebody_waits_for_goes_before_a_batch(tmp_path: Path) -> None:
    """One place; a batch's request has several choices that take it in turn. A person comes last and is second."""
    with live_server(tmp_path, rate_limit="", max_running=1) as server:
        server.wait_ready()
        hold = tmp_path / "go"
        body = {"model": "scripted", "prompt": f"delay=0.01 until={hold} say b", "n": 4, "max_tokens": 1900}
        line = {"custom_id": "a", "method": "POST", "url": URL, "body": body}
        batch_id = begin(server, json.dumps(line).encode())
        server.wait_for(lambda: httpx.get(server.url + "/health").json()["running"] == 1)
        with ThreadPoolExecutor(1) as pool:
            person = pool.submit(httpx.post, server.url + "/generate", json={"prompt": "say p"}, timeout=90)
            server.wait_for(lambda: httpx.get(server.url + "/health").json()["waiting"] == 1)
            hold.touch()
            assert person.result().status_code == 200
        server.wait_for(lambda: state(server, batch_id)["status"] == "completed")
        order = [record["api"] for record in read_records(server.vault) if record["type"] == "interaction"]
        assert order[1] == "generate", order


def test_limits_make_a_batch_wait_and_nothing_fail(tmp_path: Path) -> None:
    with live_server(tmp_path, rate_limit="40/second") as server:
        server.wait_ready()
        batch_id = begin(server, lines(60, "say answer {n}"))
        server.wait_for(lambda: state(server, batch_id).get("status") == "completed")
        assert state(server, batch_id)["request_counts"] == {"total": 60, "completed": 60, "failed": 0}
