"""`generate` and `stream`: replies for scripts."""

from __future__ import annotations

import json

from minivault.cli import exits
from tests.cli.conftest import Cli
from tests.cli.server import SUMMARY, ScriptedServer, answer, error, pieces


def test_generate_prints_the_text_of_one_whole_reply(cli: Cli, server: ScriptedServer) -> None:
    result = cli("generate", "-p", "Hi", "--max-tokens", "9")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello world\n", "")
    assert server.seen.bodies == [{"prompt": "Hi", "max_tokens": 9, "stream": False}]


def test_generate_prints_the_reply_itself_as_json(cli: Cli) -> None:
    reply = json.loads(cli("generate", "-p", "Hi", "--json").stdout)
    assert reply == {"response": "Hello world", **SUMMARY, "finish_reason": "stop"}


def test_generate_reads_the_prompt_from_stdin(cli: Cli, server: ScriptedServer) -> None:
    cli("generate", "-p", "-", stdin="from a pipe")
    assert server.seen.bodies[0]["prompt"] == "from a pipe"


def test_generate_needs_a_prompt(cli: Cli) -> None:
    assert cli("generate").exit_code == exits.USAGE


def test_a_reply_that_was_cut_at_the_deadline_is_printed_and_an_error(cli: Cli, server: ScriptedServer) -> None:
    server.will(answer("Half", finish_reason="deadline"))
    result = cli("generate", "-p", "Hi")
    assert (result.exit_code, result.stdout) == (exits.FAILED, "Half\n")


def test_stream_prints_the_lines_of_the_wire(cli: Cli) -> None:
    result = cli("stream", "-p", "Hi")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"token": "Hello", "index": 0},
        {"token": " world", "index": 1},
        {"done": True, **SUMMARY, "finish_reason": "stop"},
    ]


def test_a_line_of_stream_holds_no_character_that_breaks_lines(cli: Cli, server: ScriptedServer) -> None:
    server.will(answer("a\u2028b\x85c\nd"))
    lines = cli("stream", "-p", "Hi").stdout.splitlines()
    assert json.loads(lines[0])["token"] == "a\u2028b\x85c\nd"


def test_stream_prints_text_alone_when_asked(cli: Cli) -> None:
    assert cli("stream", "-p", "Hi", "--text").stdout == "Hello world\n"


def test_a_cut_stream_prints_what_came_and_no_last_line(cli: Cli, server: ScriptedServer) -> None:
    server.will(pieces(b'{"token": "Half", "index": 0}\n'))
    result = cli("stream", "-p", "Hi")
    assert (result.exit_code, result.stdout) == (exits.FAILED, '{"token": "Half", "index": 0}\n')


def test_a_refused_stream_prints_nothing(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(401, "unauthorized", "no key"))
    result = cli("stream", "-p", "Hi")
    assert (result.exit_code, result.stdout, result.stderr) == (exits.REFUSED, "", "Error: no key\n")
