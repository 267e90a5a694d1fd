"""A message's events: their order, and what they add up to, however the answer is cut into pieces."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import GenerationFailed
from minivault.types import Delta, Event, Failed, Finished, Started, Timings, TokenLogprob, Usage
from minivault.wire.anthropic.body import MessagesBody
from minivault.wire.anthropic.reply import MessageReply
from minivault.wire.validation import validated

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
PLAIN: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
TOOLED = PLAIN | {"tools": [{"name": "add", "input_schema": {"type": "object"}}]}
ORDER = re.compile(r"S(?:B(P)?(?:D)*E)*MX")
LETTERS = {
    "message_start": "S",
    "content_block_start": "B",
    "ping": "P",
    "content_block_delta": "D",
    "content_block_stop": "E",
    "message_delta": "M",
    "message_stop": "X",
}


@dataclass(frozen=True)
class Answer:
    text: str
    reasoning: str
    finished: Finished
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


def reply(body: dict[str, Any]) -> MessageReply:
    return MessageReply("1", "m", validated(MessagesBody, body))


def streamed(body: dict[str, Any], *events: Event) -> list[dict[str, Any]]:
    encoder = reply(body)
    return [said for event in events for said in encoder.encode(0, event)] + encoder.end()


def finished(reason: Any = "stop", stop: str | None = None, tokens: int = 4) -> Finished:
    return Finished(reason, Usage(5, tokens, 2), Timings(), stop)


def rebuilt(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message as a client puts it together, written apart from ours."""
    message = json.loads(json.dumps(events[0]["message"]))
    inputs: dict[int, str] = {}
    for event in events[1:]:
        if event["type"] == "content_block_start":
            assert event["index"] == len(message["content"]), "blocks are numbered as they come"
            message["content"].append(dict(event["content_block"]))
        if event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            assert event["index"] == len(message["content"]) - 1, "only the block that is open grows"
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            if delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            if delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            if delta["type"] == "input_json_delta":
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
        if event["type"] == "message_delta":
            message |= event["delta"] | {"usage": event["usage"]}
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text)
    return message


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]


texts = st.lists(st.sampled_from(["Hi", " ", "\n", "{", "<tool", CALL, CALL.replace("add", "sub"), "é"]), max_size=5)
places = st.lists(st.integers(0, 400), max_size=12)


@given(
    texts.map("".join), st.text("ab \n", max_size=6), places, places, st.sampled_from([PLAIN, TOOLED]), st.booleans()
)
def test_any_pieces_make_the_same_message_in_order(
    text: str, thought: str, cuts: list[int], thought_cuts: list[int], body: dict[str, Any], omits: bool
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000, "display": "omitted" if omits else "summarized"}
    body = body | {"thinking": thinking}
    deltas = [Delta("", reasoning=piece) for piece in cut(thought, thought_cuts)]
    deltas += [Delta(piece) for piece in cut(text, cuts)]
    events = streamed(body, Started(5, 2), *deltas, finished())
    assert ORDER.fullmatch("".join(LETTERS[event["type"]] for event in events))
    assert [event["type"] for event in events].count("ping") == (1 if len(events) > 3 else 0)
    whole = reply(body).whole([Answer(text, thought, finished())])
    assert rebuilt(events) == whole
    kinds = [block["type"] for block in whole["content"]]
    assert kinds == sorted(kinds, key=["thinking", "text", "tool_use"].index)
    assert whole["stop_reason"] == ("tool_use" if "tool_use" in kinds else "end_turn")
    if body["thinking"] and thought:
        assert whole["content"][0] == {"type": "thinking", "thinking": "" if omits else thought, "signature": "1"}


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (finished(), "end_turn"),
        (finished(stop="\n"), "stop_sequence"),
        (finished("length", tokens=9), "max_tokens"),
        (finished("length", tokens=8), "model_context_window_exceeded"),
        (finished("deadline"), "max_tokens"),
        (finished("shutdown"), "max_tokens"),
    ],
)
def test_why_it_ended(ended: Finished, reason: str) -> None:
    whole = reply(PLAIN).whole([Answer("Hi", "", ended)])
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, ended.stop)


def test_tokens_from_the_cache_are_counted_apart() -> None:
    usage = reply(PLAIN).whole([Answer("Hi", "", finished())])["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (3, 2, 4)
    assert streamed(PLAIN, Started(5, 2))[0]["message"]["usage"]["input_tokens"] == 3


def test_one_call_at_most_where_that_is_asked_for() -> None:
    body = TOOLED | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    for asked, num in ((TOOLED, 2), (body, 1)):
        content = reply(asked).whole([Answer(f"Well. {CALL}{CALL}", "", finished())])["content"]
        assert [block["type"] for block in content] == ["text"] + ["tool_use"] * num
        assert len({block["id"] for block in content if "id" in block}) == num


def test_what_ends_before_it_starts_is_opened_all_the_same() -> None:
    events = streamed(PLAIN, finished("shutdown"))
    assert [event["type"] for event in events] == ["message_start", "message_delta", "message_stop"]


def test_a_failure_is_the_last_thing_said() -> None:
    (event,) = streamed(PLAIN, Failed(GenerationFailed("the model raised")))
    assert event["type"] == "error"
    assert (event["error"]["type"], event["error"]["message"]) == ("api_error", "the model raised")
