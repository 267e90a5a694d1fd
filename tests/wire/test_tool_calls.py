from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.wire.tool_calls import ToolCall, ToolCallReader, read_tool_calls

CALL = '{"name": "add", "arguments": {"a": 1}}'
TAGGED = f"<tool_call>\n{CALL}\n</tool_call>"
ADD = ToolCall("add", {"a": 1})


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
    ],
)
def test_calls_are_told_from_text(text: str, content: str, calls: list[ToolCall]) -> None:
    assert read_tool_calls(text) == (content, calls)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_pieces_do_not_matter(data: st.DataObject) -> None:
    part = st.sampled_from(["Hi ", "<tool", "_call>", TAGGED, CALL, "{", "}", "\n", "<", "é"])
    text = "".join(data.draw(st.lists(part, max_size=6)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    reader, shown, calls = ToolCallReader(), "", []
    for piece in pieces:
        content, found = reader.feed(piece)
        shown += content
        calls += found
    rest, more = reader.finish()
    whole, expected = read_tool_calls(text)
    assert calls + more == expected
    assert (shown + rest).strip() == whole.strip()


@given(st.text(alphabet='ab <>{}[]_\n"', max_size=40))
def test_text_without_a_call_comes_back_unchanged(text: str) -> None:
    assert read_tool_calls(text) == (text, [])
    reader = ToolCallReader()
    shown = "".join(reader.feed(character)[0] for character in text)
    assert shown + reader.finish()[0] == text


def test_text_before_a_call_is_shown_at_once() -> None:
    reader = ToolCallReader()
    assert reader.feed("Let me see <tool") == ("Let me see ", [])
    assert reader.feed("_call>" + json.dumps({"name": "f", "arguments": {}})) == ("", [])
    assert reader.feed("</tool_call>") == ("", [ToolCall("f", {})])
