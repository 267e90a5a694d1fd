"""Answers that have begun: who says so in each dialect, and what of it reaches the model."""

from __future__ import annotations

from typing import Any

import pytest

from minivault.errors import BadRequest
from minivault.wire.native.generate import decode
from minivault.wire.ollama.chat import ChatBody as OllamaChat
from minivault.wire.openai.chat import ChatBody
from minivault.wire.validation import validated

USER, BEGUN = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CALLING = BEGUN | {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
CONTINUE = {"continue_final_message": True}


def chat(*messages: Any, **fields: Any) -> ChatBody:
    body = validated(ChatBody, {"model": "m", "messages": list(messages), **fields})
    body.ensure_possible()
    return body


def test_ollamas_answers_go_on_where_the_last_message_is_the_assistants() -> None:
    for messages, continues in (([USER, BEGUN], True), ([USER], False), ([USER, BEGUN, USER], False)):
        assert validated(OllamaChat, {"model": "m", "messages": messages}).generation(9).continues is continues
    called = BEGUN | {"tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    assert not validated(OllamaChat, {"model": "m", "messages": [USER, called]}).generation(9).continues


def test_other_dialects_ask_for_it() -> None:
    assert not chat(USER, BEGUN).generations(9)[0].continues
    assert chat(USER, BEGUN, **CONTINUE).generations(9)[0].continues
    assert chat(USER, BEGUN, **CONTINUE, add_generation_prompt=False).generations(9)[0].continues
    assert decode({"messages": [USER, BEGUN], **CONTINUE}).continues


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        ([USER], CONTINUE),
        ([USER, CALLING], CONTINUE),
        ([USER, BEGUN], CONTINUE | {"add_generation_prompt": True}),
        ([USER, BEGUN], {"add_generation_prompt": False}),
    ],
)
def test_what_cannot_be_continued_is_refused(messages: list[Any], fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="continue_final_message"):
        chat(*messages, **fields)


def test_variables_of_the_template_reach_it_as_they_were_sent() -> None:
    sent = {"a": None, "b": [1, {"c": True}]}
    assert dict(chat(USER, chat_template_kwargs=sent).generations(9)[0].template_options) == sent
    assert dict(decode({"prompt": "x", "chat_template_kwargs": sent}).template_options) == sent
