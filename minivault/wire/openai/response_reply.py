"""Replies of `POST /v1/responses`: one object, or numbered events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivault.talk.calls import HERMES
from minivault.types import Delta, Event, Failed, Finished, FinishReason, Usage
from minivault.wire.openai.envelope import Envelope, encode_error
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_output import Item, Items, text_part, thought_part
from minivault.wire.reply import Answer
from minivault.wire.tool_calls import ToolCall, ToolCallReader, read_tool_calls

INCOMPLETE: dict[FinishReason, str] = {"length": "max_output_tokens"}
"""OpenAI's word for why an answer is incomplete; where it has none, ours."""


class ResponseReply:
    """Encodes one request's answer, whole or as events. With tools, text is sent when it is known to be no call."""

    def __init__(self, envelope: Envelope, body: ResponseBody, call_format: str = HERMES) -> None:
        self._envelope, self._body, self._call_format = envelope, body, call_format
        self._items = Items(envelope.id, body.custom_tools)
        self._tools = body.callable_tools
        self._reader = ToolCallReader(self._tools, call_format) if self._tools else None
        self._reasoning = self._text = self._blank = ""
        self._calls: list[ToolCall] = []
        self._num_events = 0
        self._open: list[str] = []
        """The items that were opened, in order; the last one may still be."""

    def encode(self, _index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            thought = self._think(event.reasoning) if event.reasoning else []
            text = self._read(event.text) if event.text else ""
            return thought + (self._say(text) if text else [])
        if isinstance(event, Finished):
            return self._close(event)
        if isinstance(event, Failed):
            return self._break(event)
        return self._begin()

    def end(self) -> list[dict[str, Any]]:
        return []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        return self._ended(answer.finished, self._output(answer.reasoning, answer.text, _status(answer.finished)))

    def broken(self, reasoning: str, text: str, error: dict[str, Any]) -> dict[str, Any]:
        """The whole response of an answer that failed; `error` has `code` and `message`."""
        output = self._output(reasoning, text, "incomplete") if reasoning or text else []
        return self._snapshot("failed", output, None, error={"code": error["code"], "message": error["message"]})

    def _output(self, reasoning: str, text: str, status: str) -> list[Item]:
        shown, calls = read_tool_calls(text, self._tools, self._call_format) if self._tools else (text, [])
        return self._items.output(reasoning, shown, calls, status)

    # -- events --------------------------------------------------------------------------------------------------

    def _begin(self) -> list[dict[str, Any]]:
        created = self._snapshot("in_progress", [], None)
        return [self._event(f"response.{kind}", response=created) for kind in ("created", "in_progress")]

    def _think(self, text: str) -> list[dict[str, Any]]:
        self._reasoning += text
        if "message" in self._open:  # too late for its item: it is in the whole response at the end
            return []
        opening = [] if self._open else self._open_item("reasoning", self._items.thought("in_progress", []))
        return [*opening, self._event("response.reasoning_text.delta", **self._at("reasoning"), delta=text)]

    def _say(self, text: str) -> list[dict[str, Any]]:
        self._text += text
        delta = self._event
        opening = self._open_message()
        return [*opening, delta("response.output_text.delta", **self._at("message"), delta=text, logprobs=[])]

    def _open_message(self) -> list[dict[str, Any]]:
        if "message" in self._open:
            return []
        return self._close_thought() + self._open_item("message", self._items.message("in_progress", []))

    def _open_item(self, kind: str, item: Item) -> list[dict[str, Any]]:
        self._open.append(kind)
        part = text_part("") if kind == "message" else thought_part("")
        return [
            self._event("response.output_item.added", output_index=self._open.index(kind), item=item),
            self._event("response.content_part.added", **self._at(kind), part=part),
        ]

    def _close_thought(self) -> list[dict[str, Any]]:
        if "reasoning" not in self._open or "message" in self._open:
            return []
        part = thought_part(self._reasoning)
        done = self._event("response.reasoning_text.done", **self._at("reasoning"), text=self._reasoning)
        return [done, *self._done("reasoning", part, self._items.thought("completed", [part]))]

    def _close_message(self, status: str) -> list[dict[str, Any]]:
        if "message" not in self._open:
            return []
        part = text_part(self._text)
        done = self._event("response.output_text.done", **self._at("message"), text=self._text, logprobs=[])
        return [done, *self._done("message", part, self._items.message(status, [part]))]

    def _done(self, kind: str, part: Item, item: Item) -> list[dict[str, Any]]:
        return [
            self._event("response.content_part.done", **self._at(kind), part=part),
            self._event("response.output_item.done", output_index=self._open.index(kind), item=item),
        ]

    def _call_events(self, index: int, item: Item) -> list[dict[str, Any]]:
        member = "arguments" if item["type"] == "function_call" else "input"
        written = "response.function_call_arguments" if member == "arguments" else "response.custom_tool_call_input"
        named = {"name": item["name"]} if member == "arguments" else {}
        at = {"item_id": item["id"], "output_index": index}
        return [
            self._event(
                "response.output_item.added", output_index=index, item=item | {member: "", "status": "in_progress"}
            ),
            self._event(f"{written}.delta", **at, delta=item[member]),
            self._event(f"{written}.done", **at, **named, **{member: item[member]}),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    def _close(self, finished: Finished) -> list[dict[str, Any]]:
        events = [] if self._num_events else self._begin()  # it may end before it has started
        rest = self._rest()
        events += self._say(rest) if rest else []
        if not self._calls:
            events += self._open_message()
        events += self._close_thought() + self._close_message(_status(finished))
        output = self._items.output(self._reasoning, self._text, self._calls, _status(finished))
        for index, item in enumerate(output[len(output) - len(self._calls) :], start=len(self._open)):
            events += self._call_events(index, item)
        ended = self._ended(finished, output)
        return [*events, self._event(f"response.{ended['status']}", response=ended)]

    def _break(self, failed: Failed) -> list[dict[str, Any]]:
        detail = encode_error(failed.error)["error"]
        told = self._event("error", **{key: detail[key] for key in ("code", "message", "param")})
        rest = self._rest()
        output = self._items.output(self._reasoning, self._text + rest, self._calls, "incomplete")
        said = output if self._reasoning or self._text or rest or self._calls else []
        response = self._snapshot("failed", said, None, error={key: detail[key] for key in ("code", "message")})
        return [told, self._event("response.failed", response=response)]

    def _read(self, text: str) -> str:
        """What of a piece is certainly text; blanks wait, since there are none before a call."""
        if self._reader is None:
            return text
        shown, calls = self._reader.feed(text)
        self._calls += calls
        shown = self._blank + shown
        self._blank = shown[len(shown.rstrip()) :]
        return shown.rstrip()

    def _rest(self) -> str:
        """What was held back until the end."""
        if self._reader is None:
            return ""
        rest, calls = self._reader.finish()
        self._calls += calls
        rest = self._blank + rest
        return rest.rstrip() if self._calls else rest

    def _at(self, kind: str) -> dict[str, Any]:
        item_id = f"{'msg' if kind == 'message' else 'rs'}_{self._envelope.id}"
        return {"item_id": item_id, "output_index": self._open.index(kind), "content_index": 0}

    def _event(self, kind: str, **members: Any) -> dict[str, Any]:
        self._num_events += 1
        return {"type": kind, "sequence_number": self._num_events - 1, **members}

    # -- the response object -------------------------------------------------------------------------------------

    def _ended(self, finished: Finished, output: list[Item]) -> dict[str, Any]:
        status, reason = _status(finished), finished.reason
        details = {"reason": INCOMPLETE.get(reason, reason)} if status == "incomplete" else None
        return self._snapshot(status, output, finished.usage, incomplete_details=details)

    def _snapshot(self, status: str, output: list[Item], usage: Usage | None, **members: Any) -> dict[str, Any]:
        """The response object as it stands."""
        body = self._body
        return {
            "id": f"resp_{self._envelope.id}",
            "object": "response",
            "created_at": self._envelope.created_s,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": body.metadata or {},
            "model": self._envelope.model,
            "output": output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "prompt_cache_key": body.prompt_cache_key,
            "reasoning": {"effort": body.reasoning and body.reasoning.effort, "summary": None},
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": body.store,
            "temperature": body.temperature,
            "text": {"format": _echo_format(body), "verbosity": "medium"},
            "tool_choice": body.tool_choice or "auto",
            "tools": [tool.model_dump() for tool in body.tools],
            "top_logprobs": 0,
            "top_p": body.top_p,
            "truncation": body.truncation,
            "usage": usage and _encode_usage(usage),
            "user": body.user,
        } | members


def _status(finished: Finished) -> str:
    return "completed" if finished.reason == "stop" else "incomplete"


def _echo_format(body: ResponseBody) -> dict[str, Any]:
    chosen = body.text.format if body.text else None
    return chosen.model_dump(by_alias=True, exclude_none=True) if chosen else {"type": "text"}


def _encode_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
