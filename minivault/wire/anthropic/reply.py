"""Replies of `POST /v1/messages`: one message, or the named events that it is built from.

A message has at most one block of thoughts, then one of text, then its tool calls.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from minivault.talk.calls import HERMES
from minivault.types import Delta, Event, Failed, Finished, Started, Usage
from minivault.wire.anthropic.body import MessagesBody
from minivault.wire.anthropic.errors import encode_error
from minivault.wire.reply import Answer
from minivault.wire.tool_calls import ToolCall, ToolCallReader

EMPTY = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}}
"""Blocks as they begin, by type."""


class MessageReply:
    """Encodes one request's answer. `id` is the record's, which is also the signature of thoughts: it says where they
    are kept."""

    def __init__(self, id: str, model: str, body: MessagesBody, call_format: str = HERMES) -> None:
        self._id, self._model, self._body = id, model, body
        tools = body.callable_tools
        self._reader = ToolCallReader(tools, call_format) if tools else None
        self._calls: list[ToolCall] = []
        self._has_begun = False
        self._open = ""
        self._num_blocks = 0

    def encode(self, _index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            text, calls = self._reader.feed(event.text) if self._reader else (event.text, [])
            self._calls += calls
            return [*self._say("thinking", event.reasoning), *self._say("text", text)]
        if isinstance(event, Failed):
            return [encode_error(event.error, self._id)]
        if isinstance(event, Started):
            return self._begin(Usage(event.prompt_tokens, 0, event.cached_tokens))
        return self._finish(event)

    def end(self) -> list[dict[str, Any]]:
        return []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """What the events of a stream add up to."""
        (answer,) = answers
        usage = answer.finished.usage
        events = (
            Started(usage.prompt_tokens, usage.cached_tokens),
            Delta(answer.text, reasoning=answer.reasoning),
            answer.finished,
        )
        return accumulated([said for event in events for said in self.encode(0, event)])

    def _begin(self, usage: Usage) -> list[dict[str, Any]]:
        self._has_begun = True
        message: dict[str, Any] = {
            "id": f"msg_{self._id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(usage),
        }
        return [{"type": "message_start", "message": message}]

    def _say(self, kind: str, text: str) -> list[dict[str, Any]]:
        """More of a block, which is opened where another or none is open."""
        if not text:
            return []
        opening = [] if kind == self._open else [*self._close(), *self._start(kind, EMPTY[kind])]
        if kind == "thinking" and self._body.omits_thoughts:
            return opening
        return [*opening, self._delta(f"{kind}_delta", kind, text)]

    def _start(self, kind: str, block: dict[str, Any]) -> list[dict[str, Any]]:
        self._open = kind
        self._num_blocks += 1
        opened = {"type": kind} | block
        started = {"type": "content_block_start", "index": self._num_blocks - 1, "content_block": opened}
        return [started, {"type": "ping"}] if self._num_blocks == 1 else [started]

    def _delta(self, kind: str, member: str, text: str) -> dict[str, Any]:
        delta = {"type": kind, member: text}
        return {"type": "content_block_delta", "index": self._num_blocks - 1, "delta": delta}

    def _close(self) -> list[dict[str, Any]]:
        if not self._open:
            return []
        signing = [self._delta("signature_delta", "signature", self._id)] if self._open == "thinking" else []
        self._open = ""
        return [*signing, {"type": "content_block_stop", "index": self._num_blocks - 1}]

    def _finish(self, finished: Finished) -> list[dict[str, Any]]:
        events = [] if self._has_begun else self._begin(finished.usage)  # it may end before it has started
        rest, calls = self._reader.finish() if self._reader else ("", [])
        calls = [*self._calls, *calls][: 1 if self._body.gives_one_call else None]
        events += self._say("text", rest if rest.strip() or not calls else "")
        events += self._close()
        for number, call in enumerate(calls):
            events += self._start("tool_use", {"id": f"toolu_{self._id}_{number}", "name": call.name, "input": {}})
            events += [self._delta("input_json_delta", "partial_json", json.dumps(call.arguments)), *self._close()]
        reason = stop_reason(finished, self._body.max_tokens, has_calls=bool(calls))
        delta = {"stop_reason": reason, "stop_sequence": finished.stop}
        events += [{"type": "message_delta", "delta": delta, "usage": encode_usage(finished.usage)}]
        return [*events, {"type": "message_stop"}]


def accumulated(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The message that a stream's events make."""
    message: dict[str, Any] = events[0]["message"]
    content: list[dict[str, Any]] = message["content"]
    for event in events:
        if event["type"] == "content_block_start":
            content.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            kind, said = event["delta"].values()
            if kind == "input_json_delta":
                content[-1]["input"] = json.loads(said)
            else:
                content[-1][kind.removesuffix("_delta")] += said
        elif event["type"] == "message_delta":
            message |= event["delta"] | {"usage": event["usage"]}
    return message


def stop_reason(finished: Finished, max_tokens: int, *, has_calls: bool) -> str:
    """Why it ended, in their words; what was cut by us is cut, whoever's limit it was."""
    if finished.stop is not None:
        return "stop_sequence"
    if finished.reason == "stop":
        return "tool_use" if has_calls else "end_turn"
    is_full = finished.reason == "length" and finished.usage.completion_tokens < max_tokens
    return "model_context_window_exceeded" if is_full else "max_tokens"


def encode_usage(usage: Usage) -> dict[str, Any]:
    """Tokens that were read from the cache count apart from the others. Writing it costs nothing and counts nowhere."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": getattr(usage, "reasoning_tokens", 0)},
    }
