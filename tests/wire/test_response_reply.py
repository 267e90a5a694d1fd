"""The events of a response add up to the response, for the official SDK too, however the answer is cut into pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from minivault.errors import GenerationFailed
from minivault.types import Delta, Failed
from minivault.wire.openai.envelope import Envelope
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_kept import Recorded
from minivault.wire.openai.response_reply import ResponseReply
from minivault.wire.validation import validated
from tests.wire.test_replies import REASONS, finished, streamed

ENVELOPE = Envelope("01a21992-a2aa-71a0-aa23-b034085a16e3", "m", "mv1:0", 1_790_000_000)
TOOLS = [
    {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {"a": {}}}, "strict": False},
    {"type": "custom", "name": "patch"},
]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ADD = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
PATCH = '<tool_call>{"name": "patch", "arguments": {"input": "*** x"}}</tool_call>'
PIECES = (ADD, PATCH, "Well. ", "é", "\n", " ", "<tool_", '{"a', "<tool_call>no</tool_call>")


def reply(*, has_tools: bool) -> ResponseReply:
    return ResponseReply(
        ENVELOPE, validated(ResponseBody, {"model": "m", "input": "x"} | ({"tools": TOOLS} if has_tools else {}))
    )


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """The text in pieces of any size."""
    pieces, at = [], 0
    while at < len(text):
        size = draw(st.integers(1, 12))
        pieces.append(text[at : at + size])
        at += size
    return pieces


@st.composite
def answers(draw: st.DrawFn, reasons: st.SearchStrategy[str] = REASONS) -> tuple[list[Delta], Recorded]:
    """A thought or none, then text, in pieces, and the answer they make."""
    thought, text = draw(st.text(max_size=20)), "".join(draw(st.lists(st.sampled_from(PIECES), max_size=6)))
    deltas = [Delta("", reasoning=piece) for piece in draw(cut(thought))] + [Delta(piece) for piece in draw(cut(text))]
    return deltas, Recorded(text, thought, finished(draw(reasons)))


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


@given(answers(), st.booleans())
def test_events_add_up_to_the_whole(made: tuple[list[Delta], Recorded], has_tools: bool) -> None:
    deltas, answer = made
    events = streamed(reply(has_tools=has_tools), *deltas, answer.finished)
    whole = reply(has_tools=has_tools).whole([answer])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"] == whole
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == whole["output"]
    for index, item in enumerate(whole["output"]):
        told = "".join(event["delta"] for event in events if "delta" in event and event["output_index"] == index)
        content = item["content"][0]["text"] if "content" in item else item.get("arguments", item.get("input"))
        assert told == content


@settings(deadline=None)
@given(answers(st.sampled_from(("stop", "length"))), st.booleans())
def test_the_sdk_reads_every_event_and_adds_up_the_same(made: tuple[list[Delta], Recorded], has_tools: bool) -> None:
    deltas, answer = made
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    for event in streamed(reply(has_tools=has_tools), *deltas, answer.finished):
        state.handle_event(EVENT.validate_json(json.dumps(event)))
    whole = Response.model_validate_json(json.dumps(reply(has_tools=has_tools).whole([answer])))
    if answer.finished.reason == "stop":
        assert state._completed_response is not None
        assert state._completed_response.output_text == whole.output_text
        assert [item.type for item in state._completed_response.output] == [item.type for item in whole.output]


def test_a_thought_and_a_text_come_in_the_documented_order() -> None:
    events = streamed(reply(has_tools=False), Delta("", reasoning="Hm."), Delta("Hi"), finished())
    assert kinds(events) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


def test_text_is_sent_before_a_call_is_complete() -> None:
    events = streamed(reply(has_tools=True), Delta("Let me see. <tool_call>{"))
    assert [event["delta"] for event in events if "delta" in event] == ["Let me see."]


def test_calls_come_in_the_documented_order() -> None:
    events = streamed(reply(has_tools=True), Delta(ADD), Delta(PATCH), finished())
    assert kinds(events)[2:] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["function_call", "custom_tool_call"]
    assert events[-1]["response"]["output"][1]["input"] == "*** x"


def test_a_failure_ends_a_stream_as_a_failed_response() -> None:
    events = streamed(reply(has_tools=True), Delta("Hel"), Failed(GenerationFailed("the model raised")))
    assert kinds(events)[-2:] == ["error", "failed"]
    response = events[-1]["response"]
    assert response["error"] == {"code": "generation_failed", "message": "the model raised"}
    assert response == reply(has_tools=True).broken("", "Hel", response["error"])


def test_an_answer_that_was_cut_says_why() -> None:
    for reason, told in (("length", "max_output_tokens"), ("deadline", "deadline")):
        whole = reply(has_tools=False).whole([Recorded("x", "", finished(reason))])  # type: ignore[arg-type]
        assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": told})
