"""The output items of a response, whole. Their ids come from the record's, so that they are the same whenever and
however the answer is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minivault.wire.openai.messages import encode_tool_call
from minivault.wire.openai.response_tools import FREE_INPUT
from minivault.wire.tool_calls import ToolCall

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Items:
    """Makes the items of one answer. `custom` are the names of the tools that take text."""

    id: str
    custom: frozenset[str] = frozenset()

    def output(self, reasoning: str, text: str, calls: Sequence[ToolCall], status: str) -> list[Item]:
        """All items in order: the thought, the text (also an empty one, where there is no call), the calls."""
        thought = [self.thought("completed", [thought_part(reasoning)])] if reasoning else []
        message = [self.message(status, [text_part(text)])] if text or not calls else []
        return [*thought, *message, *(self.call(call, index) for index, call in enumerate(calls))]

    def thought(self, status: str, content: list[Item]) -> Item:
        return {"type": "reasoning", "id": f"rs_{self.id}", "status": status, "summary": [], "content": content}

    def message(self, status: str, content: list[Item]) -> Item:
        return {
            "type": "message",
            "id": f"msg_{self.id}",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def call(self, call: ToolCall, index: int) -> Item:
        is_custom = call.name in self.custom
        suffix = f"{self.id}_{index}"
        return {
            "type": "custom_tool_call" if is_custom else "function_call",
            "id": f"ctc_{suffix}" if is_custom else f"fc_{suffix}",
            "call_id": f"call_{suffix}",
            "status": "completed",
            "name": call.name,
            **({"input": _free_input(call)} if is_custom else {"arguments": _arguments(call)}),
        }


def text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def thought_part(text: str) -> Item:
    return {"type": "reasoning_text", "text": text}


def _arguments(call: ToolCall) -> str:
    arguments: str = encode_tool_call(call, "")["function"]["arguments"]
    return arguments


def _free_input(call: ToolCall) -> str:
    """The text of a custom tool's call; a model that called it otherwise has its arguments shown as they are."""
    text = call.arguments.get(FREE_INPUT)
    return text if isinstance(text, str) else json.dumps(call.arguments)
