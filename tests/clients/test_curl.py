"""Plain curl, with the command lines of Ollama's and OpenAI's own documentation."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.live import LiveServer

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(*args: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", *args], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_ollamas_examples_send_json_as_a_form(server: LiveServer) -> None:
    lines = curl(f"{server.url}/api/generate", "-d", '{"model": "scripted", "prompt": "say Hello"}').splitlines()
    assert "".join(json.loads(line)["response"] for line in lines) == "Hello"
    reply = curl(f"{server.url}/api/chat", "-d", json.dumps(
        {"model": "scripted", "messages": [{"role": "user", "content": "say Hi"}], "stream": False}))  # fmt: skip
    assert json.loads(reply)["message"]["content"] == "Hi"


def test_sse_on_request(server: LiveServer) -> None:
    text = curl("-N", "-H", "Accept: text/event-stream", f"{server.url}/api/generate",
                "-d", '{"model": "scripted", "prompt": "say Hi"}')  # fmt: skip
    assert text.startswith('data: {"model": "scripted"')
    assert text.endswith("data: [DONE]\n\n")


def test_openais_example(server: LiveServer) -> None:
    body = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "say Hi"}]})
    reply = curl(f"{server.url}/v1/chat/completions", "-H", "Content-Type: application/json",
                 "-H", "Authorization: Bearer none", "-d", body)  # fmt: skip
    assert json.loads(reply)["choices"][0]["message"]["content"] == "Hi"


def test_who_is_there(server: LiveServer) -> None:
    assert curl(server.url) == "Ollama is running"
    assert "200" in curl("-I", "-o", "-", server.url).splitlines()[0]


def test_an_empty_token_counts_as_none(server: LiveServer) -> None:
    assert "version" in json.loads(curl("-H", "Authorization: Bearer ", f"{server.url}/api/version"))
