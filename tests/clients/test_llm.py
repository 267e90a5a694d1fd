"""The `llm` command with its Ollama plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import LiveServer

pytestmark = pytest.mark.clients


@pytest.fixture
def llm(server: LiveServer, tmp_path: Path) -> Callable[..., str]:
    pytest.importorskip("llm_ollama")
    environ = {**os.environ, "OLLAMA_HOST": server.url, "LLM_USER_PATH": str(tmp_path)}

    def run(*args: str) -> str:
        command = [sys.executable, "-m", "llm", *args]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def model(llm: Callable[..., str]) -> str:
    """The name under which the plugin offers the served model; newer versions put `ollama/` before it."""
    found = re.search(r"^Ollama: (\S*scripted:latest)", llm("models"), re.MULTILINE)
    assert found is not None
    return found[1]


def test_a_prompt_is_answered(llm: Callable[..., str], model: str) -> None:
    assert llm("-m", model, "say Hello", "-o", "seed", "3") == "Hello\n"
    assert llm("-m", model, "say Hello", "--no-stream") == "Hello\n"


def test_a_schema_is_kept(llm: Callable[..., str], model: str) -> None:
    assert '"ok"' in llm("-m", model, "say Hello", "--schema", "ok bool")


def test_embeddings(llm: Callable[..., str], model: str) -> None:
    assert llm("embed", "-m", model, "-c", "one").startswith("[")
