"""`benchmark`: what it sends, what it counts, how it ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from minivault.cli import exits
from minivault.cli.client.address import parse_address
from minivault.cli.client.load import Load, Server
from tests.cli.conftest import Cli
from tests.cli.server import Handler, ScriptedServer, answer, endless, error, pieces, raw, serving
from tests.cli.tty import terminal
from tests.live import GUARD_S

EVENTS = (
    b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\ndata: {"choices": [{"delta": {"content": "lo"}}]}\n\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": null}}\n\n'
    b"data: [DONE]\n\n"
)
FINISHED = EVENTS.replace(b'{"content": "lo"}', b'{"content": "lo"}, "finish_reason": "stop"').replace(
    b"data: [DONE]\n\n", b""
)
"""As `transformers serve` ends it."""
LLAMA_EVENTS = EVENTS.replace(
    b'"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": null}',
    b'"timings": {"prompt_n": 9, "predicted_n": 2, "cache_n": 0}',
)
OLLAMA = (
    b'{"message": {"content": "Hel"}, "done": false}\n{"message": {"content": "lo"}, "done": false}\n'
    b'{"message": {"content": ""}, "done": true, "prompt_eval_count": 9, "eval_count": 2}\n'
)


def run(cli: Cli, *args: str) -> dict[str, Any]:
    [found] = json.loads(cli("benchmark", "--warmup", "0", "--json", *args).stdout)["runs"]
    return dict(found)


def test_every_request_is_sent_and_counted(cli: Cli, server: ScriptedServer) -> None:
    found = run(cli, "-c", "5", "-n", "20")
    assert (found["requests"], found["answered"], found["errors"]) == (20, 20, {})
    assert (found["concurrency"], found["model"], found["completion_tokens"]) == (5, "scripted", 40)
    assert len(server.seen.bodies) == 20


def test_requests_differ_by_prompt_and_seed_and_are_the_same_each_run(cli: Cli, server: ScriptedServer) -> None:
    run(cli, "-c", "1", "-n", "9")
    first = list(server.seen.bodies)
    run(cli, "-c", "1", "-n", "9")
    assert server.seen.bodies == first * 2
    assert [body["seed"] for body in first] == list(range(9))
    assert len({body["prompt"] for body in first}) == 8
    assert {body["max_tokens"] for body in first} == {64}


def test_prompts_and_sampling_can_be_chosen(cli: Cli, server: ScriptedServer) -> None:
    run(cli, "-c", "1", "-n", "3", "-p", "A", "-p", "B", "--max-tokens", "5", "--seed", "1")
    assert [body["prompt"] for body in server.seen.bodies] == ["A", "B", "A"]
    assert {(body["max_tokens"], body["seed"]) for body in server.seen.bodies} == {(5, 1)}


def test_as_many_clients_as_asked_are_served_at_once(cli: Cli, server: ScriptedServer) -> None:
    together = threading.Barrier(40, timeout=30)

    def all_at_once(handler: Handler, body: dict[str, Any]) -> None:
        together.wait()
        answer("Hello")(handler, body)

    server.will(all_at_once)
    assert run(cli, "-c", "40")["answered"] == 40


def test_refusals_for_overload_are_counted_apart_and_are_no_failure(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(503, "overloaded", Retry_After="1"), error(503, "overloaded", Retry_After="1"), answer("Hello"))
    result = cli("benchmark", "--warmup", "0", "-c", "1", "-n", "5", "--json", "--no-retry")
    [found] = json.loads(result.stdout)["runs"]
    assert (result.exit_code, found["answered"], found["overloaded"], found["errors"]) == (exits.OK, 3, 2, {})
    assert "--no-retry" in result.stderr


def test_retry_tries_a_refused_request_again_and_its_latency_includes_the_wait(
    cli: Cli, server: ScriptedServer
) -> None:
    server.will(error(503, "overloaded", Retry_After="1"), answer("Hello"))
    found = run(cli, "-c", "1", "-n", "2")
    assert (found["answered"], found["overloaded"], found["retries"], found["refusals"]) == (2, 0, 1, 1)
    assert found["latency_ms"]["max"] >= 1000


def test_failures_are_told_by_kind_and_make_the_command_fail(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(500, "generation_failed", "it broke"), pieces(b'{"token": "a", "index": 0}\n'), answer("Hello"))
    result = cli("benchmark", "--warmup", "0", "-c", "1", "-n", "4", "--json")
    [found] = json.loads(result.stdout)["runs"]
    assert {kind: error["count"] for kind, error in found["errors"].items()} == {
        "generation_failed": 1,
        "server_error": 1,
    }
    assert result.exit_code == exits.FAILED
    assert "2 of 4 requests failed; generation_failed: it broke" in result.stderr


def test_a_server_that_refuses_everything_is_unavailable(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(503, "overloaded", Retry_After="1"))
    assert cli("benchmark", "--warmup", "0", "-c", "3", "--no-retry").exit_code == exits.UNAVAILABLE


def test_without_a_server_there_is_nothing_to_measure(offline_cli: Cli) -> None:
    result = offline_cli("benchmark", "--url", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (exits.UNAVAILABLE, "")


def test_the_report_for_a_person_names_every_measure(cli: Cli) -> None:
    result = cli("benchmark", "-c", "2")
    assert result.exit_code == exits.OK
    for measure in ("requests/s", "tokens/s", "overloaded", "errors", "latency ms", "first token ms", "p95", "p99"):
        assert measure in result.stdout


def test_the_warm_up_is_asked_and_not_counted(cli: Cli, server: ScriptedServer) -> None:
    [found] = json.loads(cli("benchmark", "-c", "1", "-n", "2", "--warmup", "3", "--json").stdout)["runs"]
    assert (found["requests"], len(server.seen.bodies)) == (2, 5)


def test_a_display_can_read_the_tally_while_requests_run(server: ScriptedServer) -> None:
    arrived, released = threading.Event(), threading.Event()

    def held(handler: Handler, body: dict[str, Any]) -> None:
        arrived.set()
        assert released.wait(30)
        answer("Hello")(handler, body)

    server.will(held)
    load = Load(Server("here", parse_address(server.url)), [{"prompt": "Hi"}], concurrency=1)
    thread = threading.Thread(target=load.run)
    thread.start()
    assert arrived.wait(30)
    assert (load.tally.num_running, len(load.tally.samples)) == (1, 0)
    released.set()
    thread.join(30)
    assert (load.tally.num_running, len(load.tally.samples), load.tally.num_pieces) == (0, 1, 1)


def test_several_numbers_of_clients_are_several_runs(cli: Cli, server: ScriptedServer) -> None:
    result = cli("benchmark", "-c", "1,3", "--json")
    runs = json.loads(result.stdout)["runs"]
    assert [(found["concurrency"], found["requests"]) for found in runs] == [(1, 1), (3, 3)]
    shown = cli("benchmark", "-c", "1,3").stdout.splitlines()
    assert [line.split()[:2] for line in shown[-2:]] == [["minivault", "1"], ["minivault", "3"]]


@pytest.mark.parametrize("wrong", ["0", "1,", "many", "5000"])
def test_a_number_of_clients_that_is_none_is_a_usage_error(wrong: str, cli: Cli) -> None:
    assert cli("benchmark", "-c", wrong).exit_code == exits.USAGE


@pytest.mark.parametrize(
    ("dialect", "stream", "path", "limit"),
    [
        ("openai", EVENTS, "/v1/chat/completions", "max_tokens"),
        ("openai", FINISHED, "/v1/chat/completions", "max_tokens"),
        ("llama", LLAMA_EVENTS, "/v1/chat/completions", "max_tokens"),
        ("ollama", OLLAMA, "/api/chat", "num_predict"),
    ],
)
def test_another_server_is_measured_with_the_same_requests_in_its_own_dialect(
    *, dialect: str, stream: bytes, path: str, limit: str, cli: Cli, server: ScriptedServer
) -> None:
    with serving() as other:
        other.will(pieces(stream))
        args = ("--against", other.url, "--dialect", dialect, "--against-model", "theirs")
        result = cli("benchmark", "-c", "2", "--json", *args, MINIVAULT_API_KEY="mv-secret")
        own, theirs = json.loads(result.stdout)["runs"]
        assert (theirs["name"], theirs["model"], theirs["answered"], theirs["errors"]) == (dialect, "theirs", 2, {})
        assert (theirs["completion_tokens"], theirs["prompt_tokens"]) == (4, 18)
        assert set(other.seen.paths) == {path}
        bodies = other.seen.bodies
        assert {body.get(limit, body.get("options", {}).get(limit)) for body in bodies} == {64}
        asked = sorted(body["messages"][-1]["content"] for body in bodies)
        assert asked == sorted(body["prompt"] for body in server.seen.bodies)
        assert not any("mv-secret" in str(headers) for headers in other.seen.headers), "our key is for our server"
    assert own["name"] == "minivault"


@pytest.mark.parametrize(("dialect", "whole"), [("openai", EVENTS), ("ollama", OLLAMA)])
def test_another_servers_answer_that_was_cut_is_no_answer(dialect: str, whole: bytes, cli: Cli) -> None:
    with serving() as other:
        other.will(pieces(b"\n".join(whole.splitlines()[:2]) + b"\n"))
        args = ("--against", other.url, "--dialect", dialect, "--against-model", "theirs", "--warmup", "0")
        result = cli("benchmark", "-c", "1", "--json", *args)
        assert json.loads(result.stdout)["runs"][1]["answered"] == 0
        assert (result.exit_code, "was cut" in result.stderr) == (exits.FAILED, True)


def test_a_server_that_lists_no_model_is_an_error_that_says_what_to_name(cli: Cli) -> None:
    with serving() as other:
        other.health = raw(200, b"{}")
        result = cli("benchmark", "--against", other.url)
    assert (result.exit_code, "name one" in result.stderr) == (exits.FAILED, True)


@pytest.mark.parametrize(
    ("ending", "beginning"), [("svg", b"<?xml"), ("html", b"<!doctype html>"), ("png", b"\x89PNG")]
)
def test_a_chart_is_drawn_in_the_format_of_its_name(ending: str, beginning: bytes, cli: Cli, tmp_path: Path) -> None:
    chart = tmp_path / f"speed.{ending}"
    assert cli("benchmark", "-c", "1,2", "--plot", str(chart)).exit_code == exits.OK
    data = chart.read_bytes()
    assert data.startswith(beginning)
    assert ending == "png" or b"tokens/s" in data or b"<svg" in data
    assert cli("benchmark", "--plot", "speed.gif").exit_code == exits.USAGE


def test_ctrl_c_keeps_what_was_measured(server: ScriptedServer) -> None:
    server.will(answer("Hello"), endless)
    with terminal("benchmark", "-c", "1", "-n", "5", "--warmup", "0", MINIVAULT_URL=server.url) as tty:
        tty.expect("1/5")
        tty.expect("1 running")
        tty.type("\x03")
        tty.expect("1 of 1 requests")
        tty.expect("Stopped")
        assert tty.process.wait(GUARD_S) == exits.INTERRUPTED
