from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import BadRequest, Draining, GenerationFailed, ModelNotFound, Unauthorized, Unsupported
from minivault.types import Message, TokenLogprob, TopLogprob
from minivault.wire.logprobs import LEAST_LOGPROB, encode_logprobs
from minivault.wire.openai.chat import ChatBody
from minivault.wire.openai.completions import CompletionBody
from minivault.wire.openai.envelope import encode_error
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.validation import validated

CONTEXT = 1000
HELLO = [{"role": "user", "content": "hi"}]


def test_defaults_are_openais() -> None:
    chat = validated(ChatBody, {"model": "m", "messages": HELLO}).generations(CONTEXT)[0].params
    assert (chat.temperature, chat.top_p, chat.top_k, chat.seed) == (1, 1, 0, None)
    assert chat.max_tokens == CONTEXT
    text = validated(CompletionBody, {"model": "m", "prompt": "x"}).generations(CONTEXT)[0]
    assert text.params.max_tokens == 16
    assert text.raw is True


def test_the_newer_limit_wins() -> None:
    body = {"model": "m", "messages": HELLO, "max_tokens": 5}
    assert validated(ChatBody, body).generations(CONTEXT)[0].params.max_tokens == 5
    assert validated(ChatBody, {**body, "max_completion_tokens": 3}).generations(CONTEXT)[0].params.max_tokens == 3
    assert validated(ChatBody, {**body, "max_tokens": 9999}).generations(CONTEXT)[0].params.max_tokens == CONTEXT


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 8))
def test_choices_have_different_seeds_in_range(seed: int, n: int) -> None:
    requests = validated(ChatBody, {"model": "m", "messages": HELLO, "seed": seed, "n": n}).generations(CONTEXT)
    seeds = [request.params.seed for request in requests]
    assert len(set(seeds)) == n
    assert all(value is not None and 0 <= value < 2**63 for value in seeds)
    assert seed < 0 or seeds[0] == seed


def test_conversations_with_calls_reach_the_template() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be kind."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
    ]
    decoded = validated(ChatBody, {"model": "m", "messages": messages}).generations(CONTEXT)[0].messages
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    assert decoded == (
        Message("system", "Be kind."),
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "5", {"tool_call_id": "c1", "name": "f"}),
    )


@pytest.mark.parametrize("arguments", ["{", "[]", "5", '"x"', "[" * 100_000])
def test_arguments_that_are_no_json_object_are_refused(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    body = validated(ChatBody, {"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]})
    with pytest.raises(BadRequest, match="JSON"):
        body.generations(CONTEXT)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_an_earlier_thought_reaches_the_template_under_every_name_in_use(name: str) -> None:
    turn = {"role": "assistant", "content": "Hi.", name: "Hm."}
    body = validated(ChatBody, {"model": "m", "messages": [turn]})
    decoded = body.generations(CONTEXT)[0].messages
    assert decoded == (Message("assistant", "Hi.", {"reasoning_content": "Hm.", "thinking": "Hm."}),)
    assert body.noted == ()


def offered(choice: Any, **fields: Any) -> Any:
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    functions = [{"name": "f", "parameters": parameters}, {"name": "g"}]
    tools = [{"type": "function", "function": function} for function in functions]
    body = {"model": "m", "messages": HELLO, "tools": tools, "tool_choice": choice, **fields}
    return validated(ChatBody, body).generations(CONTEXT)[0]


def test_a_forced_call_is_a_grammar() -> None:
    named = json.loads(offered({"type": "function", "function": {"name": "f"}}).params.grammar)
    (call,) = named["anyOf"]
    assert call["properties"]["name"] == {"const": "f"}
    assert call["properties"]["arguments"]["required"] == ["a"]
    assert len(json.loads(offered("required").params.grammar)["anyOf"]) == 2
    assert len(offered("required").tools) == 2


def test_a_choice_that_forces_nothing_has_no_grammar() -> None:
    assert offered("auto").params.grammar is None
    assert offered("auto", response_format={"type": "json_object"}).params.grammar == "json"
    assert offered("none").tools == ()


@pytest.mark.parametrize(
    ("choice", "fields", "words"),
    [
        ({"type": "function", "function": {"name": "h"}}, {}, "none of the tools"),
        ({"type": "custom", "custom": {"name": "f"}}, {}, "name a function"),
        ("required", {"tools": []}, "none of the tools"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused(choice: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        offered(choice, **fields)
    assert refused.value.field == "tool_choice"


@pytest.mark.parametrize("arguments", ["", " ", "{}", "null"])
def test_a_call_without_arguments_has_none(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    body = validated(ChatBody, {"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]})
    (message,) = body.generations(CONTEXT)[0].messages or ()
    assert message.extra["tool_calls"][0]["function"]["arguments"] == {}


def test_response_items_become_turns() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "add"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "5"},
    ]
    request = validated(ResponseBody, {"model": "m", "input": items, "instructions": "Be kind."}).generation(CONTEXT)
    assert request.system == "Be kind."
    assert [message.role for message in request.messages or ()] == ["user", "assistant", "tool"]
    assert (request.messages or ())[-1].extra == {"tool_call_id": "c1", "name": "f"}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"messages": HELLO}, "model", "required"),
        ({"model": "m"}, "messages", "required"),
        ({"model": 5, "messages": HELLO}, "model", "string"),
        ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages.0.content", "string"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text",
         "required"),
        ({"model": "m", "messages": HELLO, "temperature": -1}, "temperature", "at least 0, not -1"),
    ],
)  # fmt: skip
def test_faults_name_the_field_and_the_value(body: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        validated(ChatBody, body)
    assert refused.value.field == field
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (BadRequest("x", field="n"), "invalid_request_error", "invalid_request"),
        (Unsupported("x"), "invalid_request_error", "unsupported_parameter"),
        (ModelNotFound("x"), "invalid_request_error", "model_not_found"),
        (Unauthorized("x"), "authentication_error", "invalid_api_key"),
        (Draining("x"), "server_error", "draining"),
        (GenerationFailed("x"), "server_error", "generation_failed"),
        (ValueError("a secret"), "server_error", "internal_error"),
    ],
)
def test_errors_have_openais_types(error: Exception, kind: str, code: str) -> None:
    body = encode_error(error, "1")["error"]
    assert sorted(body) == ["code", "message", "param", "type"]
    assert (body["type"], body["code"]) == (kind, code)
    assert "secret" not in body["message"]


def test_logprobs_are_finite_numbers() -> None:
    entry = encode_logprobs([TokenLogprob(65, -math.inf, b"A", (TopLogprob(66, -1.0, b"B"),))])[0]
    assert entry["logprob"] == LEAST_LOGPROB
    assert entry["top_logprobs"] == [{"token": "B", "logprob": -1.0, "bytes": [66]}]
