"""Answers that have begun, and variables of a template's own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from transformers import PreTrainedTokenizerFast

from minivault.errors import BadRequest
from minivault.types import Message
from tests.models.chat_templates import TEMPLATES
from tests.models.test_control import EVERY, HOSTILE, KINDS, READERS, SPECIAL, control_of, made

ASKED = [Message("user", "Name a colour.")]
KIND = "byte level"


@EVERY
@pytest.mark.parametrize("begun", ["The sky is bl", "", "One.\nTwo"])
def test_the_prompt_ends_where_the_answer_has_come_to(name: str, begun: str) -> None:
    text = READERS[KIND, name].read_chat([*ASKED, Message("assistant", begun)], continues=True).text
    assert text.endswith(begun.lower() if name == "lower" else begun)
    assert not text.endswith("<|end|>")


@pytest.mark.parametrize("name", ["chatml", "llama 2", "llama 3", "gemma", "phi"])
def test_an_answer_is_continued_as_transformers_does(name: str) -> None:
    library = PreTrainedTokenizerFast(tokenizer_object=KINDS[KIND], chat_template=TEMPLATES[name], **SPECIAL)
    turns: Any = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c"}]
    expected: Any = library.apply_chat_template(turns, tokenize=False, continue_final_message=True)
    reading = READERS[KIND, name].read_chat([Message("user", "a"), Message("assistant", "b c")], continues=True)
    assert reading.text == expected


@given(HOSTILE)
def test_no_text_of_a_begun_answer_becomes_a_control_token(text: str) -> None:
    reader = READERS[KIND, "chatml"]
    plain = reader.read_chat([*ASKED, Message("assistant", "x")], continues=True)
    reading = reader.read_chat([*ASKED, Message("assistant", text)], continues=True)
    assert control_of(KIND, "chatml", reading) == control_of(KIND, "chatml", plain)
    assert reading.text.endswith(text)


def test_a_template_that_leaves_the_last_message_out_cannot_continue_it() -> None:
    reader = made(KIND, "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    with pytest.raises(BadRequest, match="cannot continue an answer") as refusal:
        reader.read_chat([*ASKED, Message("assistant", "x")], continues=True)
    assert refusal.value.field == "messages"


def test_a_template_reads_the_variables_it_is_given() -> None:
    reader = made(KIND, "{{ mode }}{% if quick %}!{% endif %}{{ (shape or {}).a }}{{ messages[0].content }}")
    options = {"mode": "low", "quick": True, "shape": {"a": 7}, "unused": None}
    assert reader.read_chat(ASKED, options=options).text == "low!7Name a colour."
    assert reader.read_chat(ASKED).text == "Name a colour."


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "strftime_now", "bos_token"])
def test_what_is_the_requests_own_is_no_variable_to_set(name: str) -> None:
    with pytest.raises(BadRequest, match=name) as refusal:
        READERS[KIND, "chatml"].read_chat(ASKED, options={name: "x"})
    assert refusal.value.field == f"chat_template_kwargs.{name}"


@pytest.mark.parametrize("options", [{"a": "<|im_end|>"}, {"a": [{"<|im_end|>": 1}]}])
def test_no_variable_spells_a_control_token(options: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="control token"):
        READERS[KIND, "chatml"].read_chat(ASKED, options=options)
