"""The command line against the real server: the same words on both sides of the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.cli import exits
from tests.cli.conftest import Cli
from tests.live import LiveServer, live_server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("server"), max_running=4, max_waiting=4) as server:
        server.wait_ready()
        yield server


@pytest.fixture
def cli(live: LiveServer) -> Cli:
    return Cli(live.url)


def records(live: LiveServer) -> list[dict[str, Any]]:
    lines = (live.vault / "log.jsonl").read_text("ascii").splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "interaction"]


def test_an_answer_is_streamed_whole_and_recorded_by_the_server(cli: Cli, live: LiveServer, tmp_path: Path) -> None:
    result = cli("ask", "say héllo 🦊", "--seed", "5")
    assert (result.exit_code, result.stdout, result.stderr) == (exits.OK, "héllo 🦊\n", "")
    record = records(live)[-1]
    assert (record["response"], record["parameters"]["seed"]) == ("héllo 🦊", 5)
    assert record["user_agent"].startswith("minivault-cli/")
    assert not (tmp_path / "logs").exists(), "the command line keeps no second record"


def test_here_and_there_give_the_same_reply(cli: Cli, offline_cli: Cli) -> None:
    args = ("generate", "-p", "say same words", "--seed", "5", "--json")
    there = json.loads(cli(*args).stdout)
    here = json.loads(offline_cli(*args, "--local", MINIVAULT_BACKEND="tests.scripted:backend").stdout)
    assert set(here) == set(there)
    own = ("id", "generated_at", "timings", "receipt")
    assert {k: v for k, v in here.items() if k not in own} == {k: v for k, v in there.items() if k not in own}


def test_streamed_lines_are_the_same_here_and_there(cli: Cli, offline_cli: Cli) -> None:
    args = ("stream", "-p", "say same words")
    there = [json.loads(line) for line in cli(*args).stdout.splitlines()]
    local = offline_cli(*args, "--local", MINIVAULT_BACKEND="tests.scripted:backend")
    here = [json.loads(line) for line in local.stdout.splitlines()]
    assert "".join(line.get("token", "") for line in here) == "same words"
    assert here[:-1] == there[:-1]
    assert set(here[-1]) == set(there[-1])


def test_every_option_is_one_that_the_server_knows(cli: Cli, live: LiveServer) -> None:
    options = (
        "--max-tokens 3 --temperature 0.5 --top-k 5 --top-p 0.9 --min-p 0.1 --repetition-penalty 1.1 "
        "--presence-penalty 0.1 --frequency-penalty 0.1 --seed 3 --stop zz --stop yy --system Hush --model scripted"
    )
    result = cli("ask", "say hello", *options.split())
    assert (result.exit_code, result.stdout) == (exits.OK, "hel\n")
    assert cli("ask", "say hello", "--raw").exit_code == exits.OK


def test_a_value_out_of_range_is_refused_with_the_servers_reason(cli: Cli) -> None:
    result = cli("ask", "say hello", "--temperature", "9")
    assert (result.exit_code, result.stdout) == (exits.REFUSED, "")
    assert "temperature" in result.stderr


def test_a_generation_that_fails_after_tokens_is_an_error(cli: Cli) -> None:
    result = cli("ask", "raise=2 say hello")
    assert (result.exit_code, result.stdout) == (exits.FAILED, "he")
    assert result.stderr.startswith("Error: ")
    assert "secret" not in result.stderr


def test_health_is_ready(cli: Cli) -> None:
    found = json.loads(cli("health", "--json").stdout)
    assert (found["status"], found["ready"], found["model"]) == ("ok", True, "scripted")


def test_a_benchmark_gets_every_answer_when_it_retries(cli: Cli) -> None:
    prompt = "delay=0.002 say " + "a" * 20
    result = cli("benchmark", "-c", "16", "-n", "48", "-p", prompt, "--json")
    (found,) = json.loads(result.stdout)["runs"]
    assert (result.exit_code, found["answered"], found["errors"]) == (exits.OK, 48, {})
    assert found["completion_tokens"] == 48 * 21


def has_outgrown(cli: Cli, vault: Path, *where: str, **environ: str) -> None:
    turns = [f"say {letter * 190}" for letter in "abcdefghijklmnop"]
    result = cli("chat", "--system", "Be brief.", *where, stdin="\n".join(turns), **environ)
    assert (result.exit_code, result.stdout.splitlines()) == (exits.OK, [turn[4:] for turn in turns])
    lines = [json.loads(line) for line in (vault / "log.jsonl").read_text("ascii").splitlines()]
    read = [line for line in lines if line["type"] == "interaction"][-1]["rendered_prompt"]
    assert read.startswith("system: Be brief.\nuser: say ") and read.endswith(turns[-1])
    [*_, told] = [line for line in result.stderr.splitlines() if "context is full" in line]
    assert f"the first {2 * len(turns) - 1 - read.count(chr(10))} messages" in told


def test_a_conversation_that_outgrows_the_context_goes_on(offline_cli: Cli, tmp_path: Path) -> None:
    with live_server(tmp_path, backend="tests.scripted:transcript_backend", context=2048) as server:
        server.wait_ready()
        has_outgrown(Cli(server.url), server.vault)


def test_so_does_one_with_a_model_loaded_here(offline_cli: Cli, tmp_path: Path) -> None:
    has_outgrown(offline_cli, tmp_path / "logs", "--local", MINIVAULT_BACKEND="tests.scripted:transcript_backend")


def test_a_conversation_goes_back_and_forth(cli: Cli) -> None:
    assert cli("chat", stdin="say one\nsay two\n").stdout == "one\ntwo\n"
