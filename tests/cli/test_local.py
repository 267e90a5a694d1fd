"""Without a server the model is loaded here, and its answers are in the vault like any other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minivault.cli import exits
from tests.cli.conftest import Cli, subprocess_environment
from tests.live import GUARD_S

LONG = "delay=0.02 say " + "a" * 2000
MAIN = [sys.executable, "-c", "from minivault.cli import main; main()"]


@pytest.fixture(autouse=True)
def scripted_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server at the bind address, and a scripted model to load."""
    monkeypatch.setenv("MINIVAULT_BIND", "127.0.0.1:1")
    monkeypatch.setenv("MINIVAULT_BACKEND", "tests.scripted:backend")


def records(tmp_path: Path) -> list[dict[str, Any]]:
    lines = (tmp_path / "logs" / "log.jsonl").read_text("ascii").splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "interaction"]


def test_ask_answers_says_on_stderr_that_it_loads_and_keeps_one_record(offline_cli: Cli, tmp_path: Path) -> None:
    result = offline_cli("ask", "say hello", "--seed", "5")
    assert (result.exit_code, result.stdout) == (exits.OK, "hello\n")
    assert result.stderr == "No server at http://127.0.0.1:1: loading tests.scripted:backend into this process.\n"
    (record,) = records(tmp_path)
    assert (record["api"], record["response"], record["status"]) == ("cli.ask", "hello", "completed")
    assert record["parameters"]["seed"] == 5


@pytest.mark.parametrize(
    ("args", "api"),
    [
        (("ask", "say hello", "--json"), "cli.ask"),
        (("generate", "-p", "say hello"), "cli.generate"),
        (("stream", "-p", "say hello", "--text"), "cli.stream"),
        (("chat",), "cli.chat"),
    ],
)
def test_each_command_has_its_own_name_in_the_record(
    args: tuple[str, ...], api: str, offline_cli: Cli, tmp_path: Path
) -> None:
    result = offline_cli(*args, stdin="say hello\n")
    assert result.exit_code == exits.OK
    assert "hello" in result.stdout
    assert [record["api"] for record in records(tmp_path)] == [api]


def test_a_local_reply_has_the_shape_of_a_servers(offline_cli: Cli) -> None:
    reply = json.loads(offline_cli("generate", "-p", "say hello", "--json").stdout)
    assert reply["response"] == "hello"
    assert set(reply) == {
        "response", "id", "model", "fingerprint", "seed", "finish_reason", "usage", "timings", "generated_at",
        "receipt",
    }  # fmt: skip


def test_a_request_that_is_refused_loads_the_model_and_leaves_no_record(offline_cli: Cli, tmp_path: Path) -> None:
    result = offline_cli("ask", "say hello", "--top-p", "7")
    assert result.exit_code == exits.REFUSED
    assert "top_p" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_failed_generation_is_one_line_and_one_record(offline_cli: Cli, tmp_path: Path) -> None:
    result = offline_cli("ask", "raise=2 say hello")
    assert (result.exit_code, result.stdout) == (exits.FAILED, "he")
    assert len(result.stderr.splitlines()) == 2
    (record,) = records(tmp_path)
    assert (record["status"], record["response"]) == ("failed", "he")


def test_a_model_that_does_not_load_is_one_line(offline_cli: Cli) -> None:
    result = offline_cli("ask", "hello", MINIVAULT_BACKEND="tests.scripted:broken_backend")
    assert result.exit_code == exits.FAILED
    assert "no room for the weights" in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()) == 2


def test_a_model_that_is_not_here_names_the_command_to_run(offline_cli: Cli) -> None:
    result = offline_cli("ask", "hello", MINIVAULT_BACKEND="local", MINIVAULT_MODEL="distilgpt2")
    assert result.exit_code == exits.FAILED
    assert "models pull distilgpt2" in result.stderr.splitlines()[-1]


def test_a_vault_that_cannot_be_written_is_no_answer(offline_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the vault should be")
    result = offline_cli("ask", "say hello")
    assert (result.exit_code, result.stdout) == (exits.VAULT, "")


def test_local_goes_before_a_server_that_runs(cli: Cli, tmp_path: Path) -> None:
    assert cli("ask", "say here", "--local").stdout == "here\n"
    assert len(records(tmp_path)) == 1


def test_ctrl_c_stops_the_answer_and_keeps_its_record(tmp_path: Path) -> None:
    process = start("ask", LONG)
    assert process.stdout.read(3) == b"aaa"
    process.send_signal(signal.SIGINT)
    rest, stderr = process.communicate(timeout=30)
    assert process.returncode == exits.INTERRUPTED
    assert b"Traceback" not in stderr
    (record,) = records(tmp_path)
    assert record["status"] == "cancelled"
    assert record["response"].startswith("aaa" + rest.decode().strip())


def test_a_reader_that_goes_away_stops_the_answer_and_keeps_its_record(tmp_path: Path) -> None:
    process = start("ask", LONG)
    assert process.stdout.read(3) == b"aaa"
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read().count(b"\n") == 1
    assert process.wait(GUARD_S) == exits.READER_CLOSED
    (record,) = records(tmp_path)
    assert record["status"] == "cancelled"


def start(*args: str) -> Any:
    """The command line as a process with pipes."""
    return subprocess.Popen(
        [*MAIN, *args], env=subprocess_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
