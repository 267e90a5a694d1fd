"""Items of a response's input are turns of a conversation, tools are those a model can be told of."""

from __future__ import annotations

from typing import Any

import pytest

from minivault.errors import BadRequest
from minivault.types import GenerationRequest, Message
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.validation import validated

CONTEXT = 100
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
OTHER = {"type": "function", "name": "g"}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edit.",
    "format": {"type": "grammar", "syntax": "lark"},
}
HOSTED = [{"type": "web_search", "external_web_access": False}, {"type": "namespace", "name": "n", "tools": [FUNCTION]}]


def body(**fields: Any) -> ResponseBody:
    return validated(ResponseBody, {"model": "m", "input": "x"} | fields)


def request(**fields: Any) -> GenerationRequest:
    return body(**fields).generation(CONTEXT)


def turns(*items: dict[str, Any]) -> list[Message]:
    return list(request(input=list(items)).messages or ())


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def call(name: str, call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}


def result(call_id: str, output: Any = "5") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def test_a_thought_a_text_and_the_calls_after_them_are_one_turn() -> None:
    asked, turn, first, second = turns(
        {"role": "user", "content": "add"},
        thought("Hm."), said("Let me see."), call("f", "1"), call("g", "2"), result("1"), result("2"),
    )  # fmt: skip
    assert asked.content == "add"
    assert (turn.content, turn.extra["reasoning_content"], turn.extra["thinking"]) == ("Let me see.", "Hm.", "Hm.")
    assert [made["function"]["name"] for made in turn.extra["tool_calls"]] == ["f", "g"]
    assert [first.extra["name"], second.extra["name"]] == ["f", "g"]


def test_what_follows_another_turn_is_a_turn_of_its_own() -> None:
    found = turns(said("a"), said("b"), result("1"), call("f", "2"), said("c"))
    assert [turn.content for turn in found] == ["a", "b", "5", "", "c"]


def test_a_thought_that_led_to_nothing_is_left_out() -> None:
    assert [turn.role for turn in turns(thought("Hm."), {"role": "user", "content": "x"}, thought(""))] == ["user"]


def test_a_thought_is_known_by_its_summary_where_there_is_nothing_else() -> None:
    summary = [{"type": "summary_text", "text": "In short."}]
    item = {"type": "reasoning", "summary": summary, "encrypted_content": "secret"}
    (turn,) = turns(item, said("a"))
    assert turn.extra == {"reasoning_content": "In short.", "thinking": "In short."}


def test_a_result_may_come_in_parts() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert turns(result("1", parts))[0].content == "a\nb"


def test_a_custom_tool_is_a_function_of_one_string() -> None:
    asked = request(tools=[PATCH], tool_choice={"type": "custom", "name": "apply_patch"})
    assert [tool["function"]["name"] for tool in asked.tools] == ["apply_patch"]
    assert '"input"' in (asked.params.grammar or "")
    made = {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "input": "*** Begin"}
    (turn, done) = turns(made, {"type": "custom_tool_call_output", "call_id": "1", "output": "ok"})
    assert turn.extra["tool_calls"][0]["function"]["arguments"] == {"input": "*** Begin"}
    assert (done.role, done.extra["name"]) == ("tool", "apply_patch")


def test_tools_that_nobody_here_could_run_are_noted() -> None:
    asked = body(tools=[FUNCTION, *HOSTED])
    assert [tool["function"]["name"] for tool in asked.generation(CONTEXT).tools] == ["f"]
    assert asked.noted == ("tools.1", "tools.2")
    assert not body(tools=HOSTED).has_tools


def test_allowed_tools_leave_some_and_may_ask_for_one() -> None:
    chosen = {"type": "allowed_tools", "mode": "auto", "tools": [OTHER, {"type": "web_search"}]}
    asked = request(tools=[FUNCTION, OTHER], tool_choice=chosen)
    assert ([tool["function"]["name"] for tool in asked.tools], asked.params.grammar) == (["g"], None)
    required = request(tools=[FUNCTION, OTHER], tool_choice=chosen | {"mode": "required"}).params.grammar or ""
    assert '"g"' in required and '"f"' not in required


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"type": "web_search"}, "name a function"),
        ({"type": "function", "name": "h"}, "none of the tools"),
        ({"type": "allowed_tools", "mode": "all", "tools": [OTHER]}, "mode"),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, "none of the tools"),
        ({"type": "allowed_tools", "mode": "auto"}, "must list"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused(choice: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        request(tools=[FUNCTION, *HOSTED], tool_choice=choice)
    assert refused.value.field == "tool_choice"


def test_what_binds_nobody_is_noted() -> None:
    fields = {
        "include": ["reasoning.encrypted_content"], "metadata": {"a": "b"}, "service_tier": "auto", "user": "u",
        "prompt_cache_key": "k", "client_metadata": {"x": 1}, "max_tool_calls": 3, "parallel_tool_calls": True,
        "safety_identifier": "s",
    }  # fmt: skip
    asked = body(**fields, text={"verbosity": "low"}, reasoning={"summary": "auto"})
    assert set(asked.noted) == {*fields, "text.verbosity", "reasoning.summary"}


def test_truncation_lets_the_oldest_turns_go() -> None:
    assert not request().drops_turns
    assert request(truncation="auto").drops_turns


@pytest.mark.parametrize(
    ("item", "field", "words"),
    [
        ({"type": "computer_call", "call_id": "1"}, "input.0.type", "computer_call"),
        ({"type": "function_call", "name": "f"}, "input", "call_id"),
        ({"type": "function_call", "call_id": "1", "name": "f", "arguments": "["}, "input", "JSON"),
        ({"type": "custom_tool_call", "call_id": "1", "name": "f"}, "input", "input"),
        ({"type": "function_call_output", "call_id": "1"}, "input", "output"),
        ({"role": "user"}, "input", "content"),
        ({"content": "x"}, "input", "role"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
            "input.0.content.0.type",
            "input_image",
        ),
    ],
)
def test_items_that_cannot_be_read_are_refused_by_name(item: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        request(input=[item])
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        body(**fields).ensure_possible()
    assert refused.value.field == field


def test_an_answer_can_be_continued_without_input() -> None:
    validated(ResponseBody, {"model": "m", "previous_response_id": "resp_1"}).ensure_possible()
