"""A model that raises, runs out of memory or hangs: the request ends with an error, the next one is served."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.faults.raw import Target
from tests.live import live_server

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("fault", "path"), [("raise", "/generate"), ("raise", "/stream-generate"), ("oom", "/generate")]
)
def test_a_failure_before_the_first_token_is_a_5xx_and_never_a_200(target: Target, fault: str, path: str) -> None:
    """Rows 20 and 22."""
    reply = target.post({"prompt": f"{fault}=0 say abc"}, path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "generation_failed")
    assert "secret" not in reply.text and "Traceback" not in reply.text


@pytest.mark.parametrize("fault", ["raise", "oom"])
def test_a_failure_at_a_later_token_is_the_last_line_of_the_stream(target: Target, fault: str) -> None:
    """Rows 19 and 22."""

    def ask() -> None:
        reply = target.post({"prompt": f"{fault}=3 say abcdef"}, "/stream-generate")
        assert reply.status_code == 200
        *tokens, last = [json.loads(line) for line in reply.text.splitlines()]
        assert "".join(token["token"] for token in tokens) == "abc"
        assert (last["done"], last["finish_reason"], last["error"]["code"]) == (True, "error", "generation_failed")

    [record] = target.new_records(ask)
    assert (record["status"], record["response"], record["error"]["code"]) == ("failed", "abc", "generation_failed")


def test_a_failure_takes_nobody_else_down(tmp_path: Path) -> None:
    """Row 22: sequences decode together, and one of them raises."""
    with live_server(tmp_path, max_running=4) as server, ThreadPoolExecutor(4) as pool:
        server.wait_ready()
        target = Target(server)
        prompts = ["delay=0.05 say abcdefgh", "delay=0.05 raise=3 say abcdefgh", "delay=0.05 say ijklmnop"]
        replies = list(pool.map(lambda prompt: target.post({"prompt": prompt}), prompts))
        assert [reply.status_code for reply in replies] == [200, 500, 200]
        assert [reply.json()["response"] for reply in replies[::2]] == ["abcdefgh", "ijklmnop"]


def test_the_queue_keeps_its_order(target: Target, tmp_path: Path) -> None:
    """Row 18."""
    ended = tmp_path / "ended"

    def num_asked() -> int:
        found = target.health()
        return int(found["running"] + found["waiting"])

    def ask_in_turn() -> None:
        with ThreadPoolExecutor(5) as pool:
            for num_before, name in enumerate("abcde"):
                pool.submit(target.post, {"prompt": f"delay=0.05 until={ended} say {name}", "max_tokens": 3000})
                target.server.wait_for(lambda num=num_before + 1: num_asked() == num)
            ended.touch()

    assert [record["prompt"][-1] for record in target.new_records(ask_in_turn)] == list("abcde")


def test_a_deadline_ends_a_slow_answer_before_or_after_its_first_token(tmp_path: Path) -> None:
    """Row 21, for a model that is slow but answers."""
    with live_server(tmp_path, deadline_s=2, max_running=1) as server, ThreadPoolExecutor(1) as pool:
        server.wait_ready()
        target = Target(server)
        begun = target.post({"prompt": "delay=0.1 say " + "a" * 200}, "/stream-generate")
        last = json.loads(begun.text.splitlines()[-1])
        assert (last["done"], last["finish_reason"]) == (True, "deadline")
        first = pool.submit(target.post, {"prompt": "prefill=6 say a"})
        server.wait_for(lambda: target.health()["running"] == 1)
        waited = target.post({"prompt": "say abc"}, "/stream-generate")
        assert (waited.status_code, waited.json()["error"]["code"]) == (504, "deadline_exceeded")
        first.result()
        assert target.answer("say fine") == "fine"


@pytest.mark.slow
def test_a_model_that_hangs_is_given_up_and_the_server_says_that_it_is_not_ready(tmp_path: Path) -> None:
    """Row 21: the thread cannot be stopped, so the worker has to be replaced."""
    with live_server(tmp_path, deadline_s=1) as server:
        server.wait_ready()
        target = Target(server)
        reply = target.post({"prompt": "hang=0 say abc"})
        assert reply.status_code in (500, 504)
        assert httpx.get(server.url + "/ready").status_code == 503
        assert target.health()["status"] != "ok"


@pytest.mark.slow
def test_a_model_that_was_only_slow_is_served_again(tmp_path: Path) -> None:
    """One step may take longer than a deadline and all patience, on a machine with too much to do."""
    with live_server(tmp_path, deadline_s=1) as server:
        server.wait_ready()
        target = Target(server)
        reply = target.post({"prompt": "prefill=13 say abc"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (500, "generation_failed")
        server.wait_for(lambda: "the model responds again" in server.log)
        assert httpx.get(server.url + "/ready").status_code == 200
        assert target.answer("say fine") == "fine"
