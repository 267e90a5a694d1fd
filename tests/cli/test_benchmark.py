"""`benchmark`: what it sends, what it counts, how it ends."""

from __future__ import annotations

import json
import threading
from typing import Any

from minivault.cli import exits
from minivault.cli.client.address import parse_address
from minivault.cli.client.load import Load
from tests.cli.conftest import Cli
from tests.cli.server import Handler, ScriptedServer, answer, error, pieces


def run(cli: Cli, *args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("benchmark", "--warmup", "0", "--json", *args).stdout)
    return found


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
    result = cli("benchmark", "--warmup", "0", "-c", "1", "-n", "5", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["answered"], found["overloaded"], found["errors"]) == (exits.OK, 3, 2, {})
    assert "--retry" in result.stderr


def test_retry_tries_a_refused_request_again_and_its_latency_includes_the_wait(
    cli: Cli, server: ScriptedServer
) -> None:
    server.will(error(503, "overloaded", Retry_After="1"), answer("Hello"))
    found = run(cli, "-c", "1", "-n", "2", "--retry")
    assert (found["answered"], found["overloaded"], found["retries"], found["refusals"]) == (2, 0, 1, 1)
    assert found["latency_ms"]["max"] >= 1000


def test_failures_are_told_by_kind_and_make_the_command_fail(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(500, "generation_failed", "it broke"), pieces(b'{"token": "a", "index": 0}\n'), answer("Hello"))
    result = cli("benchmark", "--warmup", "0", "-c", "1", "-n", "4", "--json")
    found = json.loads(result.stdout)
    assert {kind: error["count"] for kind, error in found["errors"].items()} == {
        "generation_failed": 1,
        "server_error": 1,
    }
    assert result.exit_code == exits.FAILED
    assert "2 of 4 requests failed; generation_failed: it broke" in result.stderr


def test_a_server_that_refuses_everything_is_unavailable(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(503, "overloaded", Retry_After="1"))
    assert cli("benchmark", "--warmup", "0", "-c", "3").exit_code == exits.UNAVAILABLE


def test_without_a_server_there_is_nothing_to_measure(offline_cli: Cli) -> None:
    result = offline_cli("benchmark", "--url", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (exits.UNAVAILABLE, "")


def test_the_report_for_a_person_names_every_measure(cli: Cli) -> None:
    result = cli("benchmark", "-c", "2")
    assert result.exit_code == exits.OK
    for measure in ("requests/s", "tokens/s", "overloaded", "errors", "latency ms", "first token ms", "p95", "p99"):
        assert measure in result.stdout


def test_the_warm_up_is_asked_and_not_counted(cli: Cli, server: ScriptedServer) -> None:
    found = json.loads(cli("benchmark", "-c", "1", "-n", "2", "--warmup", "3", "--json").stdout)
    assert (found["requests"], len(server.seen.bodies)) == (2, 5)


def test_a_display_can_read_the_tally_while_requests_run(server: ScriptedServer) -> None:
    arrived, released = threading.Event(), threading.Event()

    def held(handler: Handler, body: dict[str, Any]) -> None:
        arrived.set()
        assert released.wait(30)
        answer("Hello")(handler, body)

    server.will(held)
    load = Load(parse_address(server.url), [{"prompt": "Hi"}], concurrency=1)
    thread = threading.Thread(target=load.run)
    thread.start()
    assert arrived.wait(30)
    assert (load.tally.num_running, len(load.tally.samples)) == (1, 0)
    released.set()
    thread.join(30)
    assert (load.tally.num_running, len(load.tally.samples), load.tally.num_pieces) == (0, 1, 1)
