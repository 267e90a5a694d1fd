"""Tool calls through the SDKs, with a template that knows tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import ollama
import openai
import pytest

from tests.clients.conftest import MODEL, answers
from tests.live import LiveServer, live_server

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
ASK: Any = [{"role": "user", "content": f"say Let me see. {CALL}"}]
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
HELLO: Any = [{"role": "user", "content": "say Hello"}]
TOOLS: Any = [{"type": "function", "function": {"name": "add", "description": "Add.", "parameters": PARAMETERS}}]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("tools")
    with live_server(directory, backend="tests.clients.tools_backend:backend", rate_limit="") as running:
        running.wait_ready()
        yield running


@pytest.fixture
def ollama_client(server: LiveServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as client:
        yield client


@pytest.fixture
def openai_client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_ollama_calls_and_is_told_the_result(server: LiveServer, ollama_client: ollama.Client) -> None:
    assert "tools" in (ollama_client.show(MODEL).capabilities or [])
    reply = ollama_client.chat(MODEL, ASK, tools=[add])
    assert reply.message.content == "Let me see."
    assert reply.done_reason == "stop"
    (call,) = reply.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("add", {"a": 1, "b": 2})
    assert answers(server)[-1]["rendered_prompt"].startswith("tools=add ")
    result = {"role": "tool", "tool_name": "add", "content": "3"}
    assert ollama_client.chat(MODEL, [*ASK, reply.message, result], tools=[add]).message.content == "got 3"


def test_ollama_streams_calls(ollama_client: ollama.Client) -> None:
    parts = list(ollama_client.chat(MODEL, ASK, tools=[add], stream=True))
    assert "".join(part.message.content or "" for part in parts).strip() == "Let me see."
    (calling,) = [part for part in parts if part.message.tool_calls]
    assert calling.done is False
    assert parts[-1].done is True


def test_ollamas_clients_may_force_or_forbid_a_call(server: LiveServer) -> None:
    asked = {"model": MODEL, "messages": HELLO, "tools": TOOLS, "stream": False, "options": {"temperature": 2}}

    def message(choice: object) -> Any:
        reply = httpx.post(f"{server.url}/api/chat", json=asked | {"tool_choice": choice}, trust_env=False, timeout=30)
        return reply.json().get("message", reply.json())

    for choice in ("required", {"type": "function", "function": {"name": "add"}}):
        (call,) = message(choice)["tool_calls"]
        jsonschema.validate(call["function"], {"properties": {"name": {"const": "add"}, "arguments": PARAMETERS}})
    assert message("none") == {"role": "assistant", "content": "Hello"}
    assert answers(server)[-1]["rendered_prompt"] == "tools= say Hello"
    assert "none of the tools" in message({"type": "function", "function": {"name": "other"}})["error"]


def test_openai_calls_and_is_told_the_result(openai_client: openai.OpenAI) -> None:
    reply = openai_client.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS)
    (choice,) = reply.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"a": 1, "b": 2}
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "3"}
    messages: Any = [*ASK, choice.message.model_dump(exclude_none=True), result]
    again = openai_client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert again.choices[0].message.content == "got 3"


def test_openai_streams_calls(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(model=MODEL, messages=ASK, tools=TOOLS) as stream:
        final = stream.until_done().get_final_completion()
    (choice,) = final.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1, "b": 2})


def test_responses_call(openai_client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "add", "parameters": PARAMETERS, "strict": False}
    reply = openai_client.responses.create(model=MODEL, input=f"say {CALL}", tools=[tool])
    (call,) = reply.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"a": 1, "b": 2}
    items: Any = [
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "3"},
    ]
    assert openai_client.responses.create(model=MODEL, input=items, tools=[tool]).output_text == "got 3"
    with openai_client.responses.stream(model=MODEL, input=f"say Well. {CALL}", tools=[tool]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    assert [item.type for item in final.output] == ["message", "function_call"]


def test_without_tools_the_same_text_is_text(openai_client: openai.OpenAI) -> None:
    for extra in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        reply = openai_client.chat.completions.create(model=MODEL, messages=ASK, **extra)
        assert reply.choices[0].message.content == f"Let me see. {CALL}"
        assert reply.choices[0].finish_reason == "stop"


def test_a_call_can_be_forced(openai_client: openai.OpenAI) -> None:
    choices: Any = ["required", {"type": "function", "function": {"name": "add"}}]
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    tools: Any = [{"type": "function", "function": {"name": "add", "parameters": schema}}]
    for choice in choices:
        for stream in (False, True):
            asked: Any = {"model": MODEL, "messages": HELLO, "tools": tools, "tool_choice": choice, "temperature": 2}
            if stream:
                with openai_client.chat.completions.stream(**asked) as chunks:
                    reply = chunks.until_done().get_final_completion().choices[0]
            else:
                reply = openai_client.chat.completions.create(**asked).choices[0]
            assert reply.finish_reason == "tool_calls"
            assert not reply.message.content
            (call,) = reply.message.tool_calls or []
            jsonschema.validate(json.loads(call.function.arguments), schema)


def test_parameters_that_cannot_be_enforced_are_refused_by_name(openai_client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "add", "parameters": {"not": {}}}}]
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model=MODEL, messages=HELLO, tools=tools, tool_choice="required")
    assert refused.value.param == "tool_choice"


def test_an_answer_in_an_asked_for_format_is_no_call(
    openai_client: openai.OpenAI, ollama_client: ollama.Client
) -> None:
    """Nor is one that names a tool which was not offered."""
    schema = {"type": "object", "properties": {"name": {"const": "add"}, "arguments": {"const": {}}},
              "required": ["name", "arguments"], "additionalProperties": False}  # fmt: skip
    text = '{"name": "add", "arguments": {}}'
    json_schema: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    chat = openai_client.chat.completions.create(model=MODEL, messages=HELLO, tools=TOOLS, response_format=json_schema)
    assert (chat.choices[0].message.content, chat.choices[0].message.tool_calls) == (text, None)
    tool: Any = {"type": "function", "name": "add", "parameters": PARAMETERS, "strict": False}
    form: Any = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    assert openai_client.responses.create(model=MODEL, input="say x", tools=[tool], text=form).output_text == text
    reply = ollama_client.chat(MODEL, HELLO, tools=[add], format=schema)
    assert (reply.message.content, reply.message.tool_calls) == (text, None)


def test_a_call_of_a_tool_that_was_not_offered_is_text(
    openai_client: openai.OpenAI, ollama_client: ollama.Client
) -> None:
    call = CALL.replace("add", "remove")
    asked: Any = [{"role": "user", "content": f"say {call}"}]
    chat = openai_client.chat.completions.create(model=MODEL, messages=asked, tools=TOOLS)
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == (call, "stop")
    tool: Any = {"type": "function", "name": "add", "parameters": PARAMETERS, "strict": False}
    assert openai_client.responses.create(model=MODEL, input=f"say {call}", tools=[tool]).output_text == call
    for stream in (False, True):
        parts: Any = ollama_client.chat(MODEL, asked, tools=[add], stream=stream)
        parts = list(parts) if stream else [parts]
        assert "".join(part.message.content for part in parts) == call
