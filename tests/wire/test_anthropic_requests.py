"""Requests of Anthropic's clients as the engine gets them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minivault.errors import BadRequest
from minivault.types import GenerationRequest, Message
from minivault.wire.anthropic.body import CountBody, MessagesBody
from minivault.wire.validation import validated

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"name": "add", "description": "Add.", "input_schema": SCHEMA}
USE = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": None}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "3"}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def body(*turns: dict[str, Any], **fields: Any) -> MessagesBody:
    asked = {"model": "m", "max_tokens": 5, "messages": list(turns) or [user(text("x"))], **fields}
    return validated(MessagesBody, asked)


def read(*turns: dict[str, Any], **fields: Any) -> GenerationRequest:
    return body(*turns, **fields).generation(100)


def said(*turns: dict[str, Any], **fields: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in read(*turns, **fields).messages or ()]


def test_instructions_come_first_whether_text_or_blocks() -> None:
    assert said(system="Be brief.")[0] == ("system", "Be brief.")
    assert said(system=[text("Be"), text("brief.")])[0] == ("system", "Be\nbrief.")
    assert said({"role": "system", "content": "brief."}, user(text("x")), system="Be")[0] == ("system", "Be\nbrief.")


def test_what_the_system_says_later_is_told_within_the_users_turn() -> None:
    turns = said(user(text("hi")), {"role": "system", "content": [text("It rains.")]})
    assert turns == [("user", "hi\n<system-reminder>\nIt rains.\n</system-reminder>")]


def test_turns_of_one_role_are_one() -> None:
    answer = {"role": "assistant", "content": "c"}
    assert said(user(text("a")), user(text("b")), answer, answer) == [("user", "a\nb"), ("assistant", "c\nc")]


def test_calls_and_their_results() -> None:
    turns = [{"role": "assistant", "content": [text("Well."), USE]}, user(RESULT, text("And?"))]
    _, called, result, asked = read(user(text("x")), *turns, tools=[ADD]).messages or ()
    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": {"a": None}}}
    assert called == Message("assistant", "Well.", {"tool_calls": [call]})
    assert result == Message("tool", "3", {"tool_call_id": "t1", "name": "add"})
    assert asked == Message("user", "And?")
    failed = RESULT | {"is_error": True, "content": [text("no")]}
    assert said(user(text("x")), turns[0], user(failed))[-1] == ("tool", "Error: no")
    assert said(user(text("x")), turns[0], user({"type": "tool_result", "tool_use_id": "t1"}))[-1] == ("tool", "")


def test_thoughts_that_are_sent_back_are_kept_apart() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "…"}
    request = read(user(text("x")), {"role": "assistant", "content": [thought, hidden, text("y")]}, user(text("z")))
    assert request.messages is not None
    assert request.messages[1] == Message("assistant", "y", {"reasoning_content": "hm", "thinking": "hm"})


def test_an_assistants_last_message_is_the_answers_beginning() -> None:
    request = read(user(text("x")), {"role": "assistant", "content": "The answer is ("})
    assert request.continues
    assert request.messages is not None and request.messages[-1].content == "The answer is ("
    assert not read().continues
    with pytest.raises(BadRequest, match="tool_result"):
        read(user(text("x")), {"role": "assistant", "content": [USE]})


@pytest.mark.parametrize(
    ("thinking", "thinks", "budget", "effort"),
    [
        (None, False, None, None),
        ({"type": "disabled"}, False, None, None),
        ({"type": "enabled", "budget_tokens": 2048}, True, 2048, "high"),
        ({"type": "adaptive", "display": "omitted"}, None, None, "high"),
    ],
)
def test_thinking(thinking: Any, thinks: bool | None, budget: int | None, effort: str | None) -> None:
    request = read(thinking=thinking, output_config={"effort": "xhigh"})
    assert (request.thinks, request.thinking_budget, request.thinking_effort) == (thinks, budget, effort)


def test_tools_are_told_as_templates_know_them() -> None:
    (tool,) = read(tools=[ADD | {"strict": True, "type": "custom"}]).tools
    function = {"name": "add", "description": "Add.", "parameters": SCHEMA, "strict": True}
    assert tool == {"type": "function", "function": function}
    assert read(tools=[ADD], tool_choice={"type": "none"}).tools == ()


def test_tools_that_are_not_the_clients_own_are_left_out_and_noted() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    sent = body(tools=[search, {"type": "mcp_toolset", "mcp_server_name": "s"}, ADD], mcp_servers=[{}])
    assert [tool["function"]["name"] for tool in sent.generation(100).tools] == ["add"]
    assert {"tools.web_search", "tools.mcp_toolset", "mcp_servers"} <= set(sent.noted)
    with pytest.raises(BadRequest, match="none of the tools"):
        read(tools=[search, ADD], tool_choice={"type": "tool", "name": "web_search"})


def test_a_tool_that_is_held_back_is_told_once_it_is_referred_to() -> None:
    late = ADD | {"name": "late", "defer_loading": True}
    found = RESULT | {"content": [{"type": "tool_reference", "tool_name": "late"}]}
    turns = [user(text("x")), {"role": "assistant", "content": [USE]}, user(found)]
    assert [tool["function"]["name"] for tool in read(tools=[ADD, late]).tools] == ["add"]
    request = read(*turns, tools=[ADD, late])
    assert [tool["function"]["name"] for tool in request.tools] == ["add", "late"]
    assert request.messages is not None and "late" in request.messages[-1].content


def test_a_call_can_be_forced_and_an_answer_formed() -> None:
    for choice in ({"type": "any"}, {"type": "tool", "name": "add"}):
        grammar = json.loads(read(tools=[ADD], tool_choice=choice).params.grammar or "")
        assert grammar["anyOf"][0]["properties"]["name"] == {"const": "add"}
    form = {"type": "json_schema", "schema": SCHEMA}
    for fields in ({"output_config": {"format": form}}, {"output_format": form}):
        assert json.loads(read(**fields).params.grammar or "") == SCHEMA


def test_what_nothing_reads_is_noted_at_every_depth() -> None:
    cache = {"cache_control": {"type": "ephemeral"}}
    sent = body(
        user(text("a", **cache), text("b", **cache)),
        system=[text("s", **cache)],
        tools=[ADD | cache],
        metadata={"user_id": "u"},
        service_tier="auto",
        container=None,
        output_config={"task_budget": {}},
    )
    assert sorted(sent.noted) == sorted(
        (
            "messages.content.cache_control",
            "system.cache_control",
            "tools.cache_control",
            "output_config.task_budget",
            "metadata",
            "service_tier",
        )
    )


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"max_tokens": None}, "max_tokens", "is required"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"max_tokens": "5"}, "max_tokens", "integer"),
        ({"temperature": 1.5}, "temperature", "at most 1"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [user({"type": "image", "source": {}})]}, "messages.0.content.0", "content of type image"),
        ({"messages": [user({"type": "document", "source": {}})]}, "messages.0.content.0", "type document"),
        ({"messages": [user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]})]},
         "messages.0.content.0.content.0", "type image"),
        ({"messages": [user({"text": "x"})]}, "messages.0.content.0", "'type'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "'user'"),
        ({"tools": [{"name": "f"}]}, "tools.0", "input_schema"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice", "name"),
        ({"stop_sequences": [""]}, "stop_sequences.0", "at least 1"),
    ],
)  # fmt: skip
def test_faults_are_told_by_the_path_of_the_field(fields: dict[str, Any], field: str, told: str) -> None:
    asked = {"model": "m", "max_tokens": 5, "messages": [user(text("x"))]} | fields
    with pytest.raises(BadRequest, match=told) as refused:
        validated(MessagesBody, asked)
    assert refused.value.field == field


def test_counting_needs_only_what_makes_the_prompt() -> None:
    asked: dict[str, Any] = {"model": "m", "messages": [user(text("x"))], "system": "s", "tools": [ADD]}
    counted = validated(CountBody, asked).prompting()
    asked_for = validated(MessagesBody, asked | {"max_tokens": 5}).generation(100)
    assert (counted.messages, counted.tools) == (asked_for.messages, asked_for.tools)
