"""`models`: fetching, listing, showing and removing, for people and for scripts."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, subprocess_environment
from tests.live import GUARD_S
from tests.models import gpt2, tiny_gguf

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("gguf")
    gpt2.write_vocabulary(folder)
    return str(tiny_gguf.write(folder / "tiny.gguf", *tiny_gguf.vocabulary(folder / "merges.txt")))


def test_an_empty_machine_lists_what_can_be_fetched(offline_cli: Cli, tmp_path: Path) -> None:
    result = offline_cli("models", "list")
    assert result.exit_code == 0
    assert [line.split()[:3] for line in result.stdout.splitlines()] == [
        ["smollm2-135m", "not", "here"],
        ["distilgpt2", "not", "here"],
    ]
    found = json.loads(offline_cli("models", "list", "--json").stdout)
    assert found["models"] == []
    assert [entry["name"] for entry in found["available"]] == ["smollm2-135m", "distilgpt2"]
    assert not (tmp_path / "home").exists(), "listing writes nothing"


def test_a_model_is_pulled_listed_shown_and_removed(offline_cli: Cli, gguf_file: str, tmp_path: Path) -> None:
    pulled = offline_cli("models", "pull", gguf_file, "--json", MINIVAULT_RUNNER="transformers")
    assert pulled.exit_code == 0, pulled.stderr
    described = json.loads(pulled.stdout)
    assert described["architecture"] == "llama"
    assert described["license"] == "mit"
    assert described["directory"].startswith(str(tmp_path / "home"))
    assert "packing 100%" in pulled.stderr
    listed = json.loads(offline_cli("models", "list", "--json").stdout)
    assert [model["reference"] for model in listed["models"]] == [gguf_file]
    assert gguf_file in offline_cli("models", "list").stdout
    shown = offline_cli("models", "show", gguf_file, "--verify")
    assert described["weights_digest"] in shown.stdout
    assert "every file has its recorded digest" in shown.stderr
    removed = offline_cli("models", "rm", gguf_file)
    assert (removed.exit_code, removed.stdout) == (0, "")
    assert Path(gguf_file).is_file()
    assert offline_cli("models", "show", gguf_file).exit_code == 1


def test_verifying_finds_what_a_quick_look_does_not(offline_cli: Cli, gguf_file: str) -> None:
    pulled = offline_cli("models", "pull", gguf_file, "--json", MINIVAULT_RUNNER="transformers")
    weights = Path(json.loads(pulled.stdout)["directory"]) / "weights.exact"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert offline_cli("models", "show", gguf_file).exit_code == 0
    verified = offline_cli("models", "show", gguf_file, "--verify", "--json")
    assert verified.exit_code == 1
    assert verified.stdout == ""
    assert "does not have the recorded digest; repair it with `minivault models pull" in verified.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("show", "smollm2-135m"), "get it with `minivault models pull smollm2-135m`"),
        (("rm", "distilgpt2"), "`minivault models list` shows what is"),
        (("pull", "nonsense"), "use smollm2-135m or distilgpt2, a hub id like org/name or org/name:Q4_K_M"),
        (("pull", "./missing"), "is not a directory"),
        (("pull", "missing.gguf"), "is not a file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(args: tuple[str, ...], told: str, offline_cli: Cli) -> None:
    result = offline_cli("models", *args)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert told in result.stderr.splitlines()[-1]


def test_listing_and_showing_need_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from minivault.cli import minivault;"
        "[minivault(['models', *args], standalone_mode=False) for args in (['list'], ['list', '--json'])];"
        "sys.exit(bool({'torch', 'transformers', 'huggingface_hub', 'gguf'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=subprocess_environment(), capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_terminal_gets_a_bar() -> None:
    code = (
        "from minivault.cli.show.transfer import show_transfer\n"
        "with show_transfer('tiny') as progress:\n"
        "    [progress('downloading', done, 5_000_000) for done in range(0, 5_000_001, 1_000_000)]\n"
    )
    screen, terminal = pty.openpty()
    environment = subprocess_environment(TERM="xterm", COLUMNS="100")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=terminal) as process:
        process.wait(GUARD_S)
    os.close(terminal)
    drawn = b""
    while True:
        try:
            block = os.read(screen, 65536)
        except OSError:  # the other end of a terminal is closed
            break
        drawn += block
    os.close(screen)
    assert process.returncode == 0
    assert b"downloading" in drawn and "━".encode() in drawn and b"5.0/5.0 MB" in drawn
