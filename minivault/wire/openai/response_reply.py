"""Replies of `POST /v1/responses`: one object, or numbered events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivault.talk.calls import HERMES
from minivault.types import Delta, Event, Failed, Finished, Usage
from minivault.wire.openai.envelope import Envelope, encode_error, finish_reason
from minivault.wire.openai.messages import encode_tool_call
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.reply import Answer
from minivault.wire.tool_calls import ToolCall, read_tool_calls


class ResponseReply:
    """Encodes one request's answer, whole or as events. With tools, text is sent when it is known to be no call."""

    def __init__(self, envelope: Envelope, body: ResponseBody, call_format: str = HERMES) -> None:
        self._envelope, self._body, self._call_format = envelope, body, call_format
        self._tools = body.callable_tools
        self._message_id = f"msg_{envelope.id}"
        self._part = {"item_id": self._message_id, "output_index": 0, "content_index": 0}
        self._text = ""
        self._num_events = 0
        self._has_item = False

    def encode(self, _index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            self._text += event.text
            return self._delta(event.text) if event.text and not self._tools else []
        if isinstance(event, Finished):
            return self._close(event)
        if isinstance(event, Failed):
            detail = encode_error(event.error)["error"]
            return [self._event("error", **{key: detail[key] for key in ("code", "message", "param")})]
        return self._open()

    def end(self) -> list[dict[str, Any]]:
        return []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        text, calls = self._split(answer.text)
        return self._ended(answer.finished, self._output(text, calls, answer.finished))

    def _open(self) -> list[dict[str, Any]]:
        created = self._snapshot("in_progress", [], None)
        return [self._event(f"response.{kind}", response=created) for kind in ("created", "in_progress")]

    def _delta(self, text: str) -> list[dict[str, Any]]:
        opening = [] if self._has_item else self._open_message()
        return [*opening, self._event("response.output_text.delta", **self._part, delta=text, logprobs=[])]

    def _open_message(self) -> list[dict[str, Any]]:
        self._has_item = True
        item = self._message("in_progress", [])
        return [
            self._event("response.output_item.added", output_index=0, item=item),
            self._event("response.content_part.added", **self._part, part=_part("")),
        ]

    def _close(self, finished: Finished) -> list[dict[str, Any]]:
        text, calls = self._split(self._text)
        output = self._output(text, calls, finished)
        events = [] if self._num_events else self._open()  # it may end before it has started
        events += self._delta(text) if self._tools and text else []
        if not calls and not self._has_item:
            events += self._open_message()
        if self._has_item:
            events += self._close_message(text, output[0])
        for index, item in enumerate(output):
            events += self._call_events(index, item) if item["type"] == "function_call" else []
        ended = self._ended(finished, output)
        return [*events, self._event(f"response.{ended['status']}", response=ended)]

    def _close_message(self, text: str, item: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            self._event("response.output_text.done", **self._part, text=text, logprobs=[]),
            self._event("response.content_part.done", **self._part, part=_part(text)),
            self._event("response.output_item.done", output_index=0, item=item),
        ]

    def _call_events(self, index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
        at = {"item_id": item["id"], "output_index": index}
        opened = item | {"arguments": "", "status": "in_progress"}
        return [
            self._event("response.output_item.added", output_index=index, item=opened),
            self._event("response.function_call_arguments.delta", **at, delta=item["arguments"]),
            self._event("response.function_call_arguments.done", **at, name=item["name"], arguments=item["arguments"]),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    def _event(self, kind: str, **members: Any) -> dict[str, Any]:
        self._num_events += 1
        return {"type": kind, "sequence_number": self._num_events - 1, **members}

    def _split(self, text: str) -> tuple[str, list[ToolCall]]:
        return read_tool_calls(text, self._tools, self._call_format) if self._tools else (text, [])

    def _output(self, text: str, calls: Sequence[ToolCall], finished: Finished) -> list[dict[str, Any]]:
        status = _status(finished)
        message = [self._message(status, [_part(text)])] if text or not calls else []
        return message + [function_call(call, f"{self._envelope.id}_{index}") for index, call in enumerate(calls)]

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "type": "message",
            "id": self._message_id,
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _ended(self, finished: Finished, output: list[dict[str, Any]]) -> dict[str, Any]:
        return self._snapshot(_status(finished), output, finished.usage)

    def _snapshot(self, status: str, output: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        """The response object as it stands."""
        body = self._body
        return {
            "id": f"resp_{self._envelope.id}",
            "object": "response",
            "created_at": self._envelope.created_s,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self._envelope.model,
            "output": output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": {"format": _echo_format(body)},
            "tool_choice": body.tool_choice or "auto",
            "tools": [tool.model_dump() for tool in body.tools],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": usage and _encode_usage(usage),
        }


def function_call(call: ToolCall, suffix: str) -> dict[str, Any]:
    """A call as an output item."""
    function = encode_tool_call(call, "")["function"]
    return {
        "type": "function_call",
        "id": f"fc_{suffix}",
        "call_id": f"call_{suffix}",
        "status": "completed",
        **function,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _status(finished: Finished) -> str:
    return "completed" if finish_reason(finished.reason) == "stop" else "incomplete"


def _echo_format(body: ResponseBody) -> dict[str, Any]:
    chosen = body.text.format if body.text else None
    return chosen.model_dump(by_alias=True, exclude_none=True) if chosen else {"type": "text"}


def _encode_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
