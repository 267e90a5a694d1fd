"""`health`: for a person, and for a script that waits until the server is ready."""

from __future__ import annotations

import json
from typing import Any

from minivault.cli import exits
from tests.cli.conftest import Cli
from tests.cli.server import HEALTH, Handler, ScriptedServer, error, raw


def test_a_ready_server_is_shown_and_exits_with_success(cli: Cli, server: ScriptedServer) -> None:
    result = cli("health")
    assert result.exit_code == exits.OK
    shown = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert shown["server"] == server.url
    assert shown["ready"] == "yes"
    assert shown["vault.seq"] == "3"


def test_json_is_the_servers_own_object_and_whether_it_is_ready(cli: Cli) -> None:
    assert json.loads(cli("health", "--json").stdout) == {**HEALTH, "ready": True}


def test_a_loading_server_is_shown_and_its_reason_is_the_error(cli: Cli, server: ScriptedServer) -> None:
    server.ready = error(503, "loading", "the model is loading")
    result = cli("health")
    assert result.exit_code == exits.UNAVAILABLE
    assert "no" in result.stdout.splitlines()[-1]
    assert result.stderr == "Error: the model is loading\n"


def test_wait_waits_until_the_server_is_ready(cli: Cli, server: ScriptedServer) -> None:
    coming = [server.ready, error(503, "loading", Retry_After="1"), error(503, "loading", Retry_After="1")]

    def next_one(handler: Handler, body: dict[str, Any]) -> None:
        coming.pop()(handler, body)

    server.ready = next_one
    assert cli("health", "--wait", "30").exit_code == exits.OK
    assert server.seen.paths.count("/ready") == 3


def test_wait_waits_for_a_server_at_the_bind_address_to_appear(offline_cli: Cli, server: ScriptedServer) -> None:
    coming = [server.health, raw(502, b"<html>not yet</html>")]

    def next_one(handler: Handler, body: dict[str, Any]) -> None:
        (coming.pop() if len(coming) > 1 else coming[0])(handler, body)

    server.health = next_one
    result = offline_cli("health", "--wait", "30", MINIVAULT_BIND=f"127.0.0.1:{server.server_address[1]}")
    assert (result.exit_code, len(coming)) == (exits.OK, 1)


def test_without_a_server_it_says_how_to_start_one(offline_cli: Cli) -> None:
    result = offline_cli("health", MINIVAULT_BIND="127.0.0.1:1")
    assert result.exit_code == exits.UNAVAILABLE
    assert "no server answers at http://127.0.0.1:1" in result.stderr
    assert "minivault serve" in result.stderr


def test_another_program_at_the_bind_address_is_not_taken_for_ours(offline_cli: Cli, server: ScriptedServer) -> None:
    server.health = raw(200, b"<html>hello</html>")
    result = offline_cli("health", MINIVAULT_BIND=f"127.0.0.1:{server.server_address[1]}")
    assert result.exit_code == exits.UNAVAILABLE


def test_a_key_that_the_server_refuses_is_a_refusal(cli: Cli, server: ScriptedServer) -> None:
    server.health = error(401, "unauthorized", "this server needs a key")
    result = cli("health")
    assert (result.exit_code, result.stderr) == (exits.REFUSED, "Error: this server needs a key\n")
