"""The families in use, by the real texts of their chat templates: what a template writes of a call is read back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from minivault.models.template import ChatTemplate
from minivault.talk.call_text import ToolCall
from minivault.talk.calls import FORMATS, call_format_of
from minivault.talk.thoughts import thought_format, thought_format_of
from minivault.wire.tool_calls import ToolCallReader, offered

TEMPLATES = {path.stem: path.read_text() for path in Path(__file__).parent.glob("templates/*.jinja")}
PARAMETERS = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "description": "A number."},
        "note": {"type": "string", "description": "Any text."},
        "deep": {"type": "object", "description": "An object.", "properties": {"list": {"type": "array"}}},
    },
    "required": ["a"],
}
ADD: dict[str, Any] = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": PARAMETERS}}
ARGUMENTS = {"a": 1, "deep": {"list": [1, "x", None]}, "note": 'say "hi", {x}: é'}
CALLED = ToolCall("add", ARGUMENTS)
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "</s>", "<|end_of_text|>", "<|tool_response>", "<|call|>")
FAMILIES = {
    "qwen2.5": ("hermes", ""),
    "hermes-3": ("hermes", ""),
    "qwen3": ("hermes", "think"),
    "qwen3-coder": ("qwen-xml", ""),
    "llama-3.1": ("llama3", ""),
    "llama-3.2": ("llama3", ""),
    "mistral-nemo": ("mistral", ""),
    "mistral-small-3.2": ("mistral", ""),
    "ministral-3-reasoning": ("mistral", "mistral"),
    "gemma-2": ("gemma", ""),
    "gemma-4": ("gemma", "gemma"),
    "gpt-oss": ("harmony", "harmony"),
    "granite-3.3": ("granite", "granite"),
    "granite-4.0": ("hermes", ""),
    "deepseek-r1-distill": ("hermes", "think"),
}
WRITTEN = {
    "granite-3.3": '<|tool_call|>[{"name": "add", "arguments": %s}]',
    "llama-3.1": '<|python_tag|>{"name": "add", "parameters": %s}',
    "llama-3.2": '{"type": "function", "function": {"name": "add", "parameters": %s}}',
    "mistral-nemo": '[TOOL_CALLS] [{"name": "add", "arguments": %s}]',
    "gpt-oss": "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.add "
    "<|constrain|>json<|message|>%s<|call|>",
    "qwen3-coder": "<function=add>%s</function>",
    "qwen3": '<think>Hm.</think>\n<tool_call>{"name": "add", "arguments": %s}</tool_call>',
}
"""Other ways in which these models write calls."""


def render(name: str, turns: list[dict[str, Any]]) -> str:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    template = ChatTemplate(TEMPLATES[name])
    return template.render(turns, tools=[ADD], special_tokens=special, now=datetime(2026, 1, 1))


def written(name: str) -> str:
    """What the template writes of an assistant's turn that is a call."""
    asked = [{"role": "user", "content": "Q"}]
    function = {"name": "add", "arguments": ARGUMENTS}
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "abcdefghi", "type": "function", "function": function}],
    }
    result = {"role": "tool", "content": "2", "name": "add", "tool_call_id": "abcdefghi"}
    before, after = render(name, asked), render(name, [*asked, call, result])
    told = after.replace("<|tool_call>", "\1") if name == "gemma-4" else after  # its prompt goes on with `<|`, too
    start = next(at for at, (old, new) in enumerate(zip(before + "\0", told, strict=False)) if old != new)
    text = told[start:].replace("\1", "<|tool_call>")
    return text[: min(at for end in TURN_ENDS if (at := text.find(end)) >= 0)]


def read(name: str, text: str) -> tuple[str, str, list[ToolCall]]:
    """Thought, content and calls of an answer that comes one character at a time."""
    form = thought_format(thought_format_of(TEMPLATES[name]))
    thought = form.reader("possible") if form else None
    reader = ToolCallReader(offered([ADD]), call_format_of(TEMPLATES[name]))
    thoughts, shown, calls = "", "", list[ToolCall]()
    for character in [*text, ""]:
        piece = thought.feed(character) if thought else character
        if thought:
            piece += thought.finish() if not character else ""
            thoughts += thought.take()
        content, found = reader.feed(piece)
        shown, calls = shown + content, calls + found
    content, found = reader.finish()
    return thoughts, shown + content, calls + found


def test_every_template_is_known() -> None:
    assert {name: (call_format_of(text), thought_format_of(text)) for name, text in TEMPLATES.items()} == FAMILIES
    assert {form for form, _ in FAMILIES.values()} == FORMATS.keys()


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - {"gemma-2", "granite-3.3", "deepseek-r1-distill"}))
def test_what_a_template_writes_of_a_call_is_read_back(name: str) -> None:
    assert read(name, written(name)) == ("", "", [CALLED])


@pytest.mark.parametrize("name", WRITTEN)
def test_calls_are_read_in_the_other_ways_of_a_family(name: str) -> None:
    arguments = '{"a": 1, "deep": {"list": [1, "x", null]}, "note": "say \\"hi\\", {x}: \\u00e9"}'
    _, shown, calls = read(name, WRITTEN[name] % arguments)
    assert (shown.strip(), calls) == ("", [CALLED])


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<start_function_call>call:add{a:1,note:<escape>x, {y}: \"z\"<escape>}<end_function_call>",
         [ToolCall("add", {"a": 1, "note": 'x, {y}: "z"'})]),
        ("```tool_code\nprint(add(a=1, note='x'))\n```", [ToolCall("add", {"a": 1, "note": "x"})]),
        ("```tool_code\n[add(1), add(a=2)]\n```", [ToolCall("add", {"a": 1}), ToolCall("add", {"a": 2})]),
        ("```tool_code\nadd(a=open('/etc/passwd'))\n```", []),
        ("```tool_code\nremove(a=1)\n```", []),
        ("<start_function_call>call:remove{}<end_function_call>", []),
    ],
)  # fmt: skip
def test_gemmas_other_forms(text: str, calls: list[ToolCall]) -> None:
    assert read("gemma-2", text) == ("", "" if calls else text, calls)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_several_calls_and_words_before_them(name: str) -> None:
    """Forced calls are JSON in every family, so a bare list is read everywhere."""
    assert read(name, '[{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 2}}]')[2] == [
        ToolCall("add", {"a": 1}),
        ToolCall("add", {"a": 2}),
    ]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_a_forced_call_is_read_back(form: Any) -> None:
    before, after = form.forced
    reader = ToolCallReader(offered([ADD]), form.name)
    text = before + '{"name": "add", "arguments": {"a": 1, "note": "</tool_call>"}}' + after
    found = [call for character in text for call in reader.feed(character)[1]]
    assert found + reader.finish()[1] == [ToolCall("add", {"a": 1, "note": "</tool_call>"})]


def test_a_mark_in_quotes_closes_no_call() -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": 1, "note": "\\"</tool_call>"}}</tool_call> Done.'
    assert read("qwen2.5", call) == ("", " Done.", [ToolCall("add", {"a": 1, "note": '"</tool_call>'})])
