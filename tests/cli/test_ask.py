"""`ask` against a server: what is printed where, what is sent, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivault.cli import exits
from tests.cli.conftest import Cli
from tests.cli.server import ScriptedServer, answer, error, hang_up, pieces, raw, serving

TOKEN = b'{"token": "Half", "index": 0}\n'


def test_the_answer_is_on_stdout_and_nothing_on_stderr(cli: Cli) -> None:
    result = cli("ask", "Hi")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello world\n", "")


def test_only_the_options_given_are_sent(cli: Cli, server: ScriptedServer) -> None:
    cli("ask", "Hi", "--temperature", "0", "--stop", "a", "--stop", "b", "--seed", "0", "--raw")
    assert server.seen.bodies == [
        {"prompt": "Hi", "temperature": 0.0, "stop": ["a", "b"], "seed": 0, "raw": True, "stream": True}
    ]


def test_without_options_only_the_prompt_is_sent(cli: Cli, server: ScriptedServer) -> None:
    cli("ask", "Hi")
    assert server.seen.bodies == [{"prompt": "Hi", "stream": True}]


def test_a_dash_reads_the_whole_prompt_from_stdin(cli: Cli, server: ScriptedServer) -> None:
    cli("ask", "-", stdin="first\nsecond é\n")
    assert server.seen.bodies[0]["prompt"] == "first\nsecond é\n"


@pytest.mark.parametrize("command", [("ask", "What is wrong?"), ("generate", "-p", "What is wrong?")])
def test_text_piped_in_beside_a_prompt_is_put_before_it(
    command: tuple[str, ...], cli: Cli, server: ScriptedServer
) -> None:
    cli(*command, stdin="line 1\nline 2 é\n")
    assert server.seen.bodies[0]["prompt"] == "line 1\nline 2 é\n\nWhat is wrong?"


def test_text_piped_in_alone_is_the_prompt(cli: Cli, server: ScriptedServer) -> None:
    cli("ask", stdin="What is up?\n")
    assert server.seen.bodies[0]["prompt"] == "What is up?\n"


def test_words_need_no_quotes(cli: Cli, server: ScriptedServer) -> None:
    cli("ask", "why", "is", "the", "sky", "blue?", "--temperature", "0")
    cli("ask", "what", "is", "this?", stdin="a log\n")
    assert [body["prompt"] for body in server.seen.bodies] == ["why is the sky blue?", "a log\n\nwhat is this?"]


@pytest.mark.parametrize("command", ["ask", "generate", "stream"])
def test_no_prompt_at_all_is_a_usage_error(command: str, cli: Cli, server: ScriptedServer) -> None:
    result = cli(command)
    assert (result.exit_code, "There is no prompt" in result.stderr) == (exits.USAGE, True)
    assert server.seen.bodies == []


def test_stdin_that_is_not_text_is_a_usage_error(cli: Cli, server: ScriptedServer) -> None:
    result = cli("ask", "-", stdin=b"\xff\xfe")
    assert result.exit_code == exits.USAGE
    assert "stdin is not UTF-8" in result.stderr
    assert server.seen.bodies == []


def test_json_prints_the_whole_reply_as_one_object(cli: Cli) -> None:
    result = cli("ask", "Hi", "--json")
    reply = json.loads(result.stdout)
    assert reply["response"] == "Hello world"
    assert reply["usage"]["total_tokens"] == 7
    assert result.stdout.count("\n") == 1


def test_verbose_tells_the_seed_and_the_record_id_on_stderr(cli: Cli) -> None:
    result = cli("ask", "Hi", "-v")
    assert result.stdout == "Hello world\n"
    assert "seed 7" in result.stderr
    assert "0192f0c1-0000-7000-8000-000000000000" in result.stderr


def test_an_answer_that_ends_its_own_line_gets_no_second_line_break(cli: Cli, server: ScriptedServer) -> None:
    server.will(answer("Hello\n"))
    assert cli("ask", "Hi").stdout == "Hello\n"


def test_the_key_is_sent_as_a_bearer_token(cli: Cli, server: ScriptedServer) -> None:
    cli("ask", "Hi", MINIVAULT_API_KEY="mv-key-1")
    assert server.seen.headers[0]["authorization"] == "Bearer mv-key-1"


def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(cli: Cli, server: ScriptedServer) -> None:
    result = cli("ask", "Hi", MINIVAULT_API_KEY="a\nX-Evil: 1")
    assert result.exit_code == exits.USAGE
    assert server.seen.paths == []


def test_proxy_variables_do_not_divert_a_prompt_from_this_machine(cli: Cli, server: ScriptedServer) -> None:
    result = cli("ask", "Hi", HTTP_PROXY="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1")
    assert result.stdout == "Hello world\n"


def test_a_server_on_a_unix_socket_is_asked(tmp_path: Path, offline_cli: Cli) -> None:
    with serving(tmp_path / "mv.sock") as server:
        server.will(answer("Hello"))
        assert offline_cli("ask", "Hi", "--url", f"unix:{tmp_path}/mv.sock").stdout == "Hello\n"
        assert offline_cli("ask", "Hi", MINIVAULT_BIND=f"unix:{tmp_path}/mv.sock").stdout == "Hello\n"


def test_a_server_at_the_bind_address_is_found_without_a_url(server: ScriptedServer, offline_cli: Cli) -> None:
    result = offline_cli("ask", "Hi", MINIVAULT_BIND=f"0.0.0.0:{server.server_address[1]}")
    assert (result.stdout, result.stderr) == ("Hello world\n", "")
    assert server.seen.paths == ["/health", "/generate"]


def test_a_server_at_the_bind_address_that_wants_a_key_is_no_reason_to_load_a_model(
    server: ScriptedServer, offline_cli: Cli
) -> None:
    server.health = error(401, "unauthorized", "no key")
    server.will(error(401, "unauthorized", "no key"))
    result = offline_cli("ask", "Hi", MINIVAULT_BIND=f"127.0.0.1:{server.server_address[1]}")
    assert (result.exit_code, result.stderr) == (exits.REFUSED, "Error: no key\n")


def test_a_connection_that_breaks_before_the_reply_is_no_answer_and_is_not_tried_again(
    cli: Cli, server: ScriptedServer
) -> None:
    server.will(hang_up)
    result = cli("ask", "Hi", "--wait", "30")
    assert (result.exit_code, result.stdout) == (exits.FAILED, "")
    assert "broke off before its reply" in result.stderr
    assert len(server.seen.bodies) == 1


def test_the_url_option_goes_before_the_url_setting(server: ScriptedServer, offline_cli: Cli) -> None:
    result = offline_cli("ask", "Hi", "--url", server.url, MINIVAULT_URL="http://127.0.0.1:1")
    assert result.stdout == "Hello world\n"


def test_a_server_that_was_named_and_does_not_answer_is_an_error_and_no_model_is_loaded(offline_cli: Cli) -> None:
    result = offline_cli("ask", "Hi", "--url", "127.0.0.1:1")
    assert result.exit_code == exits.UNAVAILABLE
    assert result.stderr == "Error: no server answers at http://127.0.0.1:1: Connection refused\n"


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://user:secret@host", "http://host:99999", "a b"])
def test_a_url_that_is_none_is_a_usage_error(url: str, offline_cli: Cli) -> None:
    result = offline_cli("ask", "Hi", "--url", url)
    assert result.exit_code == exits.USAGE
    assert result.stderr.startswith("Error: --url: ")
    assert "secret" not in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_request", exits.REFUSED),
        (400, "context_length_exceeded", exits.REFUSED),
        (401, "unauthorized", exits.REFUSED),
        (403, "forbidden", exits.REFUSED),
        (404, "model_not_found", exits.REFUSED),
        (413, "too_large", exits.REFUSED),
        (429, "quota_exceeded", exits.REFUSED),
        (418, "invented_later", exits.REFUSED),
        (500, "generation_failed", exits.FAILED),
        (500, "invented_later", exits.FAILED),
        (503, "loading", exits.UNAVAILABLE),
        (503, "overloaded", exits.UNAVAILABLE),
        (503, "draining", exits.UNAVAILABLE),
        (503, "invented_later", exits.UNAVAILABLE),
        (503, "vault_unavailable", exits.VAULT),
        (504, "deadline_exceeded", exits.FAILED),
    ],
)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_each_refusal_has_its_exit_code_and_one_line(
    *, status: int, code: str, expected: int, as_json: tuple[str, ...], cli: Cli, server: ScriptedServer
) -> None:
    server.will(error(status, code, "what is wrong", Retry_After="1"))
    result = cli("ask", "Hi", *as_json)
    assert (result.exit_code, result.stdout, result.stderr) == (expected, "", "Error: what is wrong\n")


@pytest.mark.parametrize(("status", "expected"), [(404, exits.REFUSED), (502, exits.FAILED), (503, exits.UNAVAILABLE)])
def test_a_reply_that_is_not_ours_is_told_as_such(status: int, expected: int, cli: Cli, server: ScriptedServer) -> None:
    server.will(raw(status, b"<html>\x1b[31mBad\ngateway</html>"))
    result = cli("ask", "Hi")
    assert result.exit_code == expected
    assert f"status {status} with a body that is not MiniVault's" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr


def test_a_page_in_place_of_a_stream_is_no_answer(cli: Cli, server: ScriptedServer) -> None:
    server.will(raw(200, b"<html>\nhello</html>\n"))
    result = cli("ask", "Hi")
    assert (result.exit_code, result.stdout) == (exits.FAILED, "")
    assert "not a JSON object" in result.stderr


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_stream_without_its_last_line_is_never_a_success(is_ended: bool, cli: Cli, server: ScriptedServer) -> None:
    server.will(pieces(TOKEN, is_ended=is_ended))
    result = cli("ask", "Hi")
    assert (result.exit_code, result.stdout) == (exits.FAILED, "Half")
    assert result.stderr.startswith("Error: the answer was cut: ")


@pytest.mark.parametrize(
    ("code", "expected"), [("generation_failed", exits.FAILED), ("vault_unavailable", exits.VAULT)]
)
def test_an_error_line_after_tokens_is_an_error(code: str, expected: int, cli: Cli, server: ScriptedServer) -> None:
    line = {"error": {"code": code, "message": "it broke"}, "done": True, "finish_reason": "error"}
    server.will(pieces(TOKEN, json.dumps(line).encode() + b"\n"))
    result = cli("ask", "Hi")
    assert (result.exit_code, result.stdout, result.stderr) == (expected, "Half", "Error: it broke\n")


@pytest.mark.parametrize("reason", ["deadline", "shutdown", "cancelled", "invented_later"])
def test_an_answer_that_the_server_ended_early_is_printed_and_an_error(
    reason: str, cli: Cli, server: ScriptedServer
) -> None:
    server.will(answer("Half", finish_reason=reason))
    result = cli("ask", "Hi")
    assert (result.exit_code, result.stdout) == (exits.FAILED, "Half\n")
    assert result.stderr.startswith("Error: the answer was cut")


def test_an_answer_that_reached_its_token_limit_is_whole(cli: Cli, server: ScriptedServer) -> None:
    server.will(answer("Half", finish_reason="length"))
    assert cli("ask", "Hi").exit_code == exits.OK


def test_wait_tries_a_loading_server_again_until_it_answers(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(503, "loading", Retry_After="1"), answer("Hello"))
    assert cli("ask", "Hi", "--wait", "30").stdout == "Hello\n"
    assert len(server.seen.bodies) == 2


def test_wait_gives_up_at_once_when_the_next_try_would_be_too_late(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(503, "loading", Retry_After="60"))
    assert cli("ask", "Hi", "--wait", "5").exit_code == exits.UNAVAILABLE
    assert len(server.seen.bodies) == 1


def test_asking_elsewhere_and_here_at_once_is_a_usage_error(cli: Cli) -> None:
    for other in (("--url", "127.0.0.1:1"), ("--wait", "5")):
        assert cli("ask", "Hi", "--local", *other).exit_code == exits.USAGE
