"""The npm packages `ollama`, `openai`, `@anthropic-ai/sdk` and `ai`: skipped until `npm install` was run there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer, live_server

HERE = Path(__file__).parent / "node"

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def tools_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("tools")
    with live_server(directory, backend="tests.clients.tools_backend:backend", rate_limit="") as running:
        running.wait_ready()
        yield running


def run(script: str, server: LiveServer, package: str = "") -> dict[str, Any]:
    node, package = shutil.which("node"), package or script
    if node is None or not (HERE / "node_modules" / package).is_dir():
        pytest.skip(f"node with the npm package {package} is not installed")
    (path,) = HERE.glob(f"{script}.*js")
    command = [node, str(path), server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_ollama(server: LiveServer) -> None:
    found = run("ollama", server)
    assert found["chat"] == found["generate"] == found["streamed"] == "Hello"
    assert (found["embeddings"], found["models"], found["running"]) == (2, ["scripted:latest"], 1)
    assert (found["architecture"], found["structured"]) == ("script", "boolean")
    assert found["version"]
    assert found["missing"] == [404, "model 'other' not found"]
    assert found["refused"][0] == 403
    assert "model" in found["broken"]
    assert found["aborted"] == "AbortError"


def test_openai(server: LiveServer) -> None:
    found = run("openai", server)
    assert found["chat"] == found["streamed"] == found["helper"] == found["completion"] == found["response"] == "Hello"
    assert found["tokens"] == 6
    assert found["requestId"]
    assert found["events"][0] == "response.created"
    assert found["events"][-1] == "response.completed"
    assert (found["embedding"], found["models"]) == (257, ["scripted"])
    assert found["missing"] == ["NotFoundError", 404, "model_not_found"]
    assert "model" in found["broken"]


def test_anthropic(server: LiveServer) -> None:
    found = run("anthropic", server, "@anthropic-ai/sdk")
    assert found["whole"] == "Hello"
    assert found["requestId"]
    assert (found["events"][0], found["events"][-1]) == ("message_start", "message_stop")
    assert found["streamed"][:3] == ["He", "stop_sequence", "l"]
    assert found["counted"] == found["used"]
    assert found["models"] == ["scripted"]
    assert found["missing"] == ["NotFoundError", 404, "not_found_error"]
    assert "model" in found["broken"]


def test_ai(tools_server: LiveServer) -> None:
    for provider, found in run("ai", tools_server).items():
        assert found["text"] == found["streamed"] == "Hello", provider
        assert (found["tokens"], found["structured"]) == (6, "boolean"), provider
        assert (found["called"], found["streamedCall"]) == ("got 3", [{"a": 1, "b": 2}, 3]), provider
        assert found["missing"] == ["AI_APICallError", 404], provider
        assert found.get("embeddings", [257, 257]) == [257, 257], provider
