from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.types import Message
from minivault.wire.tool_calls import ToolCall, ToolCallReader, read_tool_calls, with_tool_names

CALL = '{"name": "add", "arguments": {"a": 1}}'
TAGGED = f"<tool_call>\n{CALL}\n</tool_call>"
ADD = ToolCall("add", {"a": 1})
NEEDS = {"type": "object", "properties": {"a": {}}, "required": ["a"]}
TOOLS = {"add": NEEDS, "f": {}, "now": {"type": "object", "properties": {}}}
NOW = ToolCall("now", {})


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("plain text", "plain text", []),
        ("", "", []),
        (TAGGED, "", [ADD]),
        (f"Let me see.\n{TAGGED}", "Let me see.", [ADD]),
        (f"{TAGGED}\n{TAGGED}", "", [ADD, ADD]),
        (f"<tool_call>[{CALL}, {CALL}]</tool_call>", "", [ADD, ADD]),
        (CALL, "", [ADD]),
        (f"  {CALL}\n", "", [ADD]),
        ('{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
        (f"<tool_call>{CALL}", "", [ADD]),
        ('{"answer": 5}', '{"answer": 5}', []),
        ("<tool_call>not json</tool_call>", "<tool_call>not json</tool_call>", []),
        ("a < b and <tool", "a < b and <tool", []),
        ('{"name": 5, "arguments": {}}', '{"name": 5, "arguments": {}}', []),
        ('{"name": "now"}', "", [NOW]),
        ('{"name": "now", "arguments": null}', "", [NOW]),
        ('{"name": "now", "arguments": ""}', "", [NOW]),
        ('{"name": "now", "arguments": "{}"}', "", [NOW]),
        ('{"name": "now", "parameters": {}}', "", [NOW]),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', "", [ADD]),
        *[
            (text, text, [])
            for text in (
                '{"name": "add"}',
                '{"name": "now", "arguments": 5}',
                '{"name": "now", "arguments": {"x": NaN}}',
                '{"name": "Ada", "arguments": {}}',
                '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
                f'[{CALL}, {{"name": "rm", "arguments": {{}}}}]',
                "[" * 100_000,
            )
        ],
    ],
)
def test_calls_are_told_from_text(text: str, content: str, calls: list[ToolCall]) -> None:
    assert read_tool_calls(text, TOOLS) == (content, calls)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_pieces_do_not_matter(data: st.DataObject) -> None:
    part = st.sampled_from(["Hi ", "<tool", "_call>", TAGGED, CALL, "{", "}", "\n", "<", "é"])
    text = "".join(data.draw(st.lists(part, max_size=6)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    reader, shown, calls = ToolCallReader(TOOLS), "", []
    for piece in pieces:
        content, found = reader.feed(piece)
        shown += content
        calls += found
    rest, more = reader.finish()
    whole, expected = read_tool_calls(text, TOOLS)
    assert calls + more == expected
    assert (shown + rest).strip() == whole.strip()


@given(st.text(alphabet='ab <>{}[]_\n"', max_size=40))
def test_text_without_a_call_comes_back_unchanged(text: str) -> None:
    assert read_tool_calls(text, TOOLS) == (text, [])
    reader = ToolCallReader(TOOLS)
    shown = "".join(reader.feed(character)[0] for character in text)
    assert shown + reader.finish()[0] == text


def test_text_before_a_call_is_shown_at_once() -> None:
    reader = ToolCallReader(TOOLS)
    assert reader.feed("Let me see <tool") == ("Let me see ", [])
    assert reader.feed("_call>" + json.dumps({"name": "f", "arguments": {}})) == ("", [])
    assert reader.feed("</tool_call>") == ("", [ToolCall("f", {})])


@given(name=st.text(max_size=10), arguments=st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_only_an_offered_tool_is_called(name: str, arguments: dict[str, int]) -> None:
    text = json.dumps({"name": name, "arguments": arguments})
    for tools in ({}, {name + "_": {}}):
        assert read_tool_calls(text, tools) == (text, [])
        assert read_tool_calls(f"<tool_call>{text}</tool_call>", tools)[1] == []
    assert read_tool_calls(text, {name: {}}) == ("", [ToolCall(name, arguments)])


def test_a_result_has_the_name_of_the_call_it_answers() -> None:
    calls = [{"id": id_, "type": "function", "function": {"name": name}} for id_, name in (("1", "f"), ("2", "g"))]
    asked = Message("assistant", "", {"tool_calls": calls})
    results = [
        Message("tool", "x", {"tool_call_id": "2"}),
        Message("tool", "x", {"tool_call_id": "1"}),
        Message("tool", "x", {"tool_call_id": "1", "name": "own"}),
        Message("tool", "x", {"tool_call_id": "3"}),
        Message("tool", "x"),
        Message("user", "x", {"tool_call_id": "1"}),
    ]
    named = [message.extra.get("name") for message in with_tool_names([asked, *results])]
    assert named == [None, "g", "f", "own", None, None, None]
