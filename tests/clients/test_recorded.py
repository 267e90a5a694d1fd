"""Call sequences of programs that cannot run here, replayed with their headers and held to what they read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Recorded, recorded
from tests.live import LiveServer, live_server

CALLED = {
    "/v1/chat/completions": ('"finish_reason": "tool_calls"',),
    "/v1/responses": ('"type": "function_call"', '"type": "custom_tool_call"'),
    "/v1/messages": ('"type": "tool_use"',),
    "/api/chat": ('"tool_calls": [',),
}
"""What a reply has in it, whole or streamed, where a tool is called."""
FREE = (None, "auto", "none")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One that takes no field it has never heard of, of a model that is told of tools."""
    settings = {"backend": "tests.clients.tools_backend:backend", "context": 32768, "rate_limit": "", "strict": "true"}
    with live_server(tmp_path_factory.mktemp("strict"), **settings) as running:
        running.wait_ready()
        yield running


@pytest.mark.parametrize("sent", recorded(), ids=lambda sent: sent.label)
def test_what_clients_really_send_is_answered(strict: LiveServer, sent: Recorded) -> None:
    """Every field is known. A tool is called where the last turn asks the model for that, or the client makes it."""
    reply = httpx.post(strict.url + sent.path, json=sent.body, trust_env=False, timeout=30)
    assert reply.status_code == 200, reply.text
    assert reply.text.startswith(("{", "data: {", "event: "))
    assert (any(mark in reply.text for mark in CALLED.get(sent.path, ()))) == is_call_expected(sent.body)


def is_call_expected(body: dict[str, Any]) -> bool:
    """Whether the scripted model will call a tool: the script says so, or the client leaves it no choice."""
    turns = body.get("messages") or body.get("input") or ""
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return "<tool_call>" in json.dumps(turns[-1:] if isinstance(turns, list) else turns) or kind not in FREE


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        yield client


def test_vs_codes_ollama_provider(http: httpx.Client) -> None:
    http.headers.update({"User-Agent": "GitHubCopilotChat/0.33.0", "Authorization": "Bearer"})
    version = http.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
    names = [entry["model"] for entry in http.get("/api/tags").json()["models"]]
    shown = http.post("/api/show", json={"model": names[0]}).json()
    info = shown["model_info"]
    assert info["general.basename"] == names[0]
    assert info[f"{info['general.architecture']}.context_length"] == 1024
    assert isinstance(shown["capabilities"], list)
    body = {
        "model": names[0],
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "say Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.1,
        "top_p": 1,
        "max_tokens": 512,
        "n": 1,
    }
    reply = http.post("/v1/chat/completions", json=body, headers={"Accept": "application/json"})
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == "Hello"
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_open_webui(http: httpx.Client) -> None:
    http.headers.update({"User-Agent": "Python/3.11 aiohttp/3.12", "Content-Type": "application/json"})
    assert http.get("/api/version").json()["version"]
    (entry,) = http.get("/api/tags").json()["models"]
    assert entry["name"] == entry["model"]
    (running,) = http.get("/api/ps").json()["models"]
    datetime.fromisoformat(running["expires_at"].replace("Z", "+00:00"))
    body = {"model": entry["model"], "messages": [{"role": "user", "content": "say Hello"}], "stream": True,
            "options": {"num_ctx": 4096, "mirostat": 0}, "keep_alive": "5m"}  # fmt: skip
    with http.stream("POST", "/api/chat", content=json.dumps(body)) as reply:
        assert reply.headers["content-type"] == "application/x-ndjson"
        lines = list(reply.iter_lines())
    assert all(lines)
    assert "".join(json.loads(line)["message"]["content"] for line in lines) == "Hello"
    last = json.loads(lines[-1])
    assert last["done"] is True
    assert last["eval_count"] / last["eval_duration"] > 0


def test_ollamas_own_command_line(http: httpx.Client) -> None:
    http.headers.update({"User-Agent": "ollama/0.32.1 (amd64 linux) Go/go1.25", "Accept": "application/json"})
    assert http.head("/").status_code == 200
    assert "model_info" in http.post("/api/show", json={"model": "scripted", "verbose": False}).json()
    load = http.post("/api/generate", json={"model": "scripted", "prompt": "", "keep_alive": None, "options": {}})
    assert load.json()["done_reason"] == "load"
    body = {"model": "scripted", "messages": [{"role": "user", "content": "say Hi"}], "format": None, "options": {}}
    reply = http.post("/api/chat", json=body, headers={"Accept": "application/x-ndjson"})
    assert not any(isinstance(json.loads(line).get("error", ""), dict) for line in reply.text.splitlines())
    assert all(len(entry["digest"]) >= 12 for entry in http.get("/api/tags").json()["models"])


def test_langflow(http: httpx.Client) -> None:
    for entry in http.get("/api/tags").json()["models"]:
        assert "completion" in http.post("/api/show", json={"model": entry["name"]}).json()["capabilities"]


@pytest.mark.parametrize(
    "prompt", ["say Yes", [list(b"say Yes")], ["say Yes", "say No!"], [list(b"say Yes"), list(b"say No!")]]
)
def test_lm_eval(http: httpx.Client, prompt: list[str] | str | list[list[int]]) -> None:
    """lm-eval 0.4.13, `local-completions`, with and without `tokenized_requests`, alone and in batches: what it sends
    for a log-likelihood, and what it then reads of the last three tokens. The generated one it leaves out."""
    http.headers.update({"User-Agent": "Python/3.11 aiohttp/3.14.3", "Authorization": "Bearer"})
    body = {"model": "scripted", "prompt": prompt, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
            "echo": True}  # fmt: skip
    choices = sorted(http.post("/v1/completions", json=body).json()["choices"], key=lambda choice: choice["index"])
    assert len(choices) == (1 if isinstance(prompt, str) else len(prompt))
    for choice in choices:
        scored = choice["logprobs"]
        token_logprobs, top_logprobs = scored["token_logprobs"][4:-1], scored["top_logprobs"][4:-1]
        assert len(token_logprobs) == 3
        is_greedy = all(one == max(top.values()) for one, top in zip(token_logprobs, top_logprobs, strict=True))
        assert (sum(token_logprobs), is_greedy) == (-200.0, False)
