"""Calls that are held to a schema: forced, and strict where the model calls of its own accord."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from minivault.config import Settings
from minivault.service.shaping import shaped
from minivault.structured.grammar import GrammarCompiler
from minivault.talk.calls import FORMATS
from minivault.types import Job, ModelInfo, SamplingParams
from minivault.wire.tool_calls import ToolCall, read_tool_calls
from tests.api.records import records
from tests.scripted import EOS, VOCABULARY, ByteTokenizer

SCHEMA = {"type": "object", "properties": {"a": {"const": 7}}, "required": ["a"], "additionalProperties": False}
CALLS = {
    "type": "object",
    "properties": {"name": {"const": "add"}, "arguments": SCHEMA},
    "required": ["name", "arguments"],
    "additionalProperties": False,
}
INFO = ModelInfo("m", "", 0, 1000, 0, 0, 0, "", "", 0, "", "", "")
COMPILER = GrammarCompiler(ByteTokenizer())


def chat(client: FlaskClient, said: str, **fields: Any) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "add", "parameters": SCHEMA, "strict": True}}
    body = {"model": "scripted", "messages": [{"role": "user", "content": said}], "tools": [tool], **fields}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    message: dict[str, Any] = reply.get_json()["choices"][0]["message"]
    return message


def called(message: dict[str, Any]) -> list[Any]:
    return [json.loads(call["function"]["arguments"]) for call in message.get("tool_calls", ())]


def test_a_strict_tool_is_called_by_its_schema_or_not_at_all(client: FlaskClient) -> None:
    assert chat(client, "say Four <tool> { is no call")["content"] == "Four <tool> { is no call"
    message = chat(client, 'say See: <tool_call>\n{"name": "rm", "arguments": {"a": 1}}\n</tool_call>')
    assert (message["content"], called(message)) == ("See:", [{"a": 7}])


def test_calls_after_the_first_are_held_too(client: FlaskClient, settings: Settings) -> None:
    one = '<tool_call>\n{"name": "add", "arguments": {"a": 8}}\n</tool_call>'
    assert called(chat(client, f"say {one}\n{one}")) == [{"a": 7}, {"a": 7}]
    assert records(settings)[-1]["parameters"]["calls"] == "strict"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_call_comes_after_the_thought(choice: Any, client: FlaskClient, settings: Settings) -> None:
    message = chat(client, "say Hm</think>no call", tool_choice=choice, reasoning_effort="low")
    assert (message["content"], message["reasoning_content"], called(message)) == (None, "Hm", [{"a": 7}])
    assert records(settings)[-1]["response"].startswith("<tool_call>\n{")


def test_a_strict_schema_that_cannot_be_held_is_refused_by_name(client: FlaskClient) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"not": {}}, "strict": True}}
    body = {"model": "scripted", "messages": [{"role": "user", "content": "say x"}], "tools": [tool]}
    reply = client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, reply.get_json()["error"]["param"]) == (400, "tools")


def answer(calls: Any, name: str, wish: str) -> str:
    """What a model gives that wishes to say `wish`, byte for byte, where it may, and the first byte that may come."""
    params = SamplingParams(calls=calls, grammar=json.dumps(CALLS), max_tokens=300)
    job = shaped(Job("1", (1,), params), replace(INFO, call_format=name), ByteTokenizer(), lambda: COMPILER)
    assert job.constraint is not None
    said: list[int] = []
    while len(said) < 300:
        logits = np.zeros(VOCABULARY, np.float32)
        logits[wish.encode()[len(said)] if len(said) < len(wish.encode()) else EOS] = 9
        job.constraint.mask(logits)
        token = int(logits.argmax())
        if token == EOS:
            break
        job.constraint.accept(token)
        said.append(token)
    return bytes(said).decode()


@pytest.mark.parametrize("name", FORMATS)
def test_forced_calls_are_read_back_in_every_format(name: str) -> None:
    assert read_tool_calls(answer("forced", name, "I would rather not"), {"add": SCHEMA}, name) == (
        "",
        [ToolCall("add", {"a": 7})],
    )


@pytest.mark.parametrize("name", FORMATS)
def test_strict_calls_are_held_in_every_format(name: str) -> None:
    """Where a family's own notation is no JSON, the call of a reply that is nothing else is."""
    before, after = FORMATS[name].forced
    wish = before + '{"name": "rm", "arguments": {"a": 1}}' + after
    assert read_tool_calls(answer("strict", name, wish), {"add": SCHEMA}, name)[1] == [ToolCall("add", {"a": 7})]
    assert answer("strict", name, "Four.") == "Four."
