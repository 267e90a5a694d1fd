from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from minivault.errors import BadRequest
from minivault.models.template import ChatTemplate
from minivault.service.prompt import read_request
from minivault.talk.telling import told
from minivault.types import GenerationRequest, Message, ModelInfo, Reading
from minivault.wire.tool_calls import ToolCall, offered, read_tool_calls
from tests.scripted import ByteTokenizer
from tests.talk.test_families import TEMPLATES

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALLS = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": "é"}}}]}
TALK = (
    Message("system", "Be brief."),
    Message("user", "Q"),
    Message("assistant", "Let me see.", CALLS),
    Message("tool", "3", {"tool_call_id": "1", "name": "add"}),
    Message("tool", "4", {"tool_call_id": "2"}),
    Message("user", "And now?"),
)


class Rendered(ByteTokenizer):
    """A real template that knows no tools."""

    def __init__(self, name: str) -> None:
        self._template = ChatTemplate(TEMPLATES[name])

    def read_chat(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), **_: Any) -> Reading:
        turns = [{"role": message.role, "content": message.content} | message.extra for message in messages]
        special = {"bos_token": "<s>", "eos_token": "</s>"}
        return self.read(self._template.render(turns, special_tokens=special, now=datetime(2026, 1, 1)))


INFO = ModelInfo("m", "", 0, 100_000, 0, 0, 0, "", "", 0, "", "", "")


def test_tools_are_told_in_the_systems_message_and_results_by_the_user() -> None:
    system, user, call, result = told(TALK, [TOOL])
    assert system.content.startswith("Be brief.\n\n") and '"name": "add"' in system.content
    assert user == TALK[1]
    assert call == Message(
        "assistant", 'Let me see.\n<tool_call>\n{"name": "add", "arguments": {"a": "é"}}\n</tool_call>'
    )
    assert result.role == "user"
    assert result.content == ("<tool_response>\n3\n</tool_response>\n<tool_response>\n4\n</tool_response>\nAnd now?")


def test_what_is_told_is_what_is_read() -> None:
    """The example in the text and a call in the history have the form that is looked for in answers."""
    call = told(TALK, [TOOL])[2].content
    assert read_tool_calls(call, offered([TOOL])) == ("Let me see.", [ToolCall("add", {"a": "é"})])


def test_a_conversation_without_tools_stays() -> None:
    turns = [Message("user", "a"), Message("user", "b"), Message("assistant", "c")]
    assert told(turns, ()) == turns


@pytest.mark.parametrize("name", ["gemma-2", "deepseek-r1-distill"])
def test_templates_that_know_no_tools_are_told_of_them(name: str) -> None:
    """Gemma 2 refuses a system's turn, and every turn out of order."""
    request = GenerationRequest(messages=TALK[1:], tools=(TOOL,))
    task = read_request(request, Rendered(name), INFO)
    for part in ('"name": "add"', "<tool_call>\n{", "<tool_response>\n3\n", "And now?"):
        assert part in task.rendered
    assert task.params.calls == "auto"


def test_what_a_template_refuses_without_tools_it_refuses_with_them() -> None:
    with pytest.raises(BadRequest, match="System role"):
        read_request(GenerationRequest(messages=TALK, tools=(TOOL,)), Rendered("gemma-2"), INFO)


def test_a_result_is_told_also_where_no_tools_are() -> None:
    task = read_request(GenerationRequest(messages=TALK[1:]), Rendered("gemma-2"), replace(INFO))
    assert "<tool_response>\n3\n" in task.rendered
    assert task.params.calls is None
