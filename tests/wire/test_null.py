"""A null member is one that was not given, at every depth that is ours; what a client writes freely keeps its nulls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from openai.types.chat import ChatCompletionMessage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage
from pydantic import BaseModel

from minivault.types import GenerationRequest
from minivault.wire import native
from minivault.wire.anthropic.body import MessagesBody
from minivault.wire.native.generate import decode
from minivault.wire.ollama.chat import ChatBody as OllamaChat
from minivault.wire.ollama.embed import EmbedBody, OldEmbedBody
from minivault.wire.ollama.generate import GenerateBody
from minivault.wire.ollama.models import ShowBody
from minivault.wire.openai.chat import ChatBody
from minivault.wire.openai.completions import CompletionBody
from minivault.wire.openai.embeddings import EmbeddingBody
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.validation import Body, validated

SCHEMA = {"type": "object", "properties": {"a": {"enum": [None, 1], "default": None, "const": None}}, "x": None}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": null}'}}
OBJECT_CALL = {"id": "c", "function": {"name": "f", "arguments": {"a": None}}}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": "y", "tool_calls": [CALL]},
        {"role": "tool", "content": "z", "tool_call_id": "c"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
}
RESPONSE: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": null}'},
        {"type": "function_call_output", "call_id": "c", "output": "z"},
    ],
    "tools": [{"type": "function", **FUNCTION}],
    "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
    "reasoning": {},
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": None}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "z"}]},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
    "thinking": {"type": "adaptive"},
}
OLLAMA: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [OBJECT_CALL]}],
    "tools": [{"type": "function", "function": FUNCTION}],
    "options": {"seed": 1},
    "format": SCHEMA,
}
BODIES: list[tuple[type[Body], dict[str, Any]]] = [
    (ChatBody, CHAT),
    (MessagesBody, MESSAGES),
    (ResponseBody, RESPONSE),
    (CompletionBody, {"model": "m", "prompt": "x", "stop": ["a"]}),
    (EmbeddingBody, {"model": "m", "input": ["x"]}),
    (OllamaChat, OLLAMA),
    (GenerateBody, {"model": "m", "prompt": "x", "options": {"stop": ["a"]}}),
    (EmbedBody, {"model": "m", "input": "x"}),
    (OldEmbedBody, {"model": "m", "prompt": "x"}),
    (ShowBody, {"model": "m"}),
    (native.generate.GenerateBody, {"messages": [{"role": "user", "content": "x"}], "format": SCHEMA}),
]
FREE = ("parameters", "schema", "arguments", "input", "input_schema", "format", "logit_bias", "metadata")


def with_nulls(value: Any, model: Any = None) -> Any:
    """The same with a null in place of every member that was left out, and an unknown one, in every object of ours."""
    if isinstance(value, list):
        return [with_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    is_free = {name: isinstance(item, dict) and name in FREE and "type" in item for name, item in value.items()}
    filled = {
        name: item
        if (is_free[name] and "properties" in item)
        or name == "arguments"
        or (name == "input" and isinstance(item, dict))
        else with_nulls(item)
        for name, item in value.items()
    }
    members = getattr(model, "model_fields", {})
    return dict.fromkeys((field.alias or name for name, field in members.items()), None) | {"unheard_of": None} | filled


@pytest.mark.parametrize(("model", "body"), BODIES)
def test_null_is_not_given_in_every_object_of_a_request(model: type[Body], body: dict[str, Any]) -> None:
    assert validated(model, with_nulls(body, model)) == validated(model, body)


def requests() -> Iterator[GenerationRequest]:
    yield validated(ChatBody, with_nulls(CHAT)).generations(100)[0]
    yield validated(ResponseBody, with_nulls(RESPONSE)).generation(100)
    yield validated(OllamaChat, with_nulls(OLLAMA)).generation(100)


def test_what_is_free_keeps_its_nulls() -> None:
    for request in requests():
        (tool,) = request.tools
        assert tool["function"] == FUNCTION
        assert request.params.grammar is not None and request.params.grammar.count("null") == 4
        (call,) = next(
            message.extra["tool_calls"] for message in request.messages or () if "tool_calls" in message.extra
        )
        assert call["function"]["arguments"] == {"a": None}


def test_the_native_dialect_takes_null_as_not_given() -> None:
    assert decode({"prompt": "x", "max_tokens": None, "stop": None, "format": None}) == decode({"prompt": "x"})


def test_messages_dumped_by_the_sdk_can_be_sent_back() -> None:
    said = ChatCompletionMessage.model_validate({"role": "assistant", "content": None, "tool_calls": [CALL]})
    body = validated(ChatBody, {"model": "m", "messages": [said.model_dump()]})
    (message,) = body.generations(100)[0].messages or ()
    assert message.extra["tool_calls"][0]["id"] == "c"


def test_items_dumped_by_the_sdk_can_be_sent_back() -> None:
    part = {"type": "output_text", "text": "x", "annotations": [], "logprobs": None}
    items: list[BaseModel] = [
        ResponseOutputMessage.model_validate(
            {"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        ),
        ResponseFunctionToolCall(type="function_call", call_id="c", name="f", arguments="{}"),
    ]
    body = validated(ResponseBody, {"model": "m", "input": [item.model_dump() for item in items]})
    (message,) = body.generation(100).messages or ()
    assert (message.content, message.extra["tool_calls"][0]["id"]) == ("x", "c")


def test_messages_dumped_by_ollamas_library_can_be_sent_back() -> None:
    said = ollama.Message.model_validate({"role": "assistant", "tool_calls": [OBJECT_CALL]})
    body = validated(OllamaChat, {"model": "m", "messages": [said.model_dump()]})
    (message,) = body.generation(100).messages or ()
    assert message.extra["tool_calls"][0]["function"]["arguments"] == {"a": None}
