"""What Claude Code 2.1.332 sends in its second round (`claude -p`), texts shortened, headers and all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.conftest import BODIES, answers
from tests.live import LiveServer, live_server

BODY: dict[str, Any] = json.loads((BODIES / "claude-code-2.1.332.json").read_text())[0]["body"]
HEADERS = {
    "User-Agent": "claude-cli/2.1.332 (external, sdk-cli)",
    "X-Stainless-Retry-Count": "0",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    "mid-conversation-tool-changes-2026-07-01,thinking-token-count-2026-05-13,advanced-tool-use-2025-11-20,"
    "effort-2025-11-24",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-version": "2023-06-01",
    "x-api-key": "sk-test",
    "x-app": "cli",
}
BASH = {"command": "ls", "description": "List files"}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, httpx.Client]]:
    directory = tmp_path_factory.mktemp("claude")
    with live_server(directory, backend="tests.clients.tools_backend:backend", context=1024) as server:
        server.wait_ready()
        with httpx.Client(base_url=server.url, headers=HEADERS, trust_env=False, timeout=30) as client:
            yield server, client


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def test_a_round_of_its_loop(http: tuple[LiveServer, httpx.Client]) -> None:
    server, client = http
    reply = client.post("/v1/messages?beta=true", json=BODY)
    assert reply.status_code == 200
    said = events(reply.text)
    assert (said[0]["type"], said[-1]["type"]) == ("message_start", "message_stop")
    prompt = answers(server)[-1]["rendered_prompt"]
    assert prompt.startswith("tools=Bash,ToolSearch,WebFetch "), (
        "the one that was referred to is told, the other is not"
    )
    assert prompt.endswith("</system-reminder>")


def test_its_tools_are_called(http: tuple[LiveServer, httpx.Client]) -> None:
    call = json.dumps({"name": "Bash", "arguments": BASH})
    asked = BODY | {"messages": [{"role": "user", "content": f"say Let me look. <tool_call>{call}</tool_call>"}]}
    said = events(http[1].post("/v1/messages?beta=true", json=asked).text)
    blocks = [event["content_block"]["type"] for event in said if event["type"] == "content_block_start"]
    assert blocks == ["text", "tool_use"]
    (input_json,) = [e["delta"]["partial_json"] for e in said if e.get("delta", {}).get("type") == "input_json_delta"]
    assert json.loads(input_json) == BASH
    assert said[-2]["delta"]["stop_reason"] == "tool_use"


def test_it_learns_that_its_conversation_is_too_long(http: tuple[LiveServer, httpx.Client]) -> None:
    asked = BODY | {"messages": [{"role": "user", "content": "x" * 4000}]}
    refused = http[1].post("/v1/messages?beta=true", json=asked)
    assert refused.status_code == 400
    message = refused.json()["error"]["message"]
    assert re.match(r"prompt is too long: \d{4} tokens > 1023 maximum", message), message
