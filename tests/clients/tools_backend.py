"""The scripted model with a chat template that knows tools: it shows the model their names, then the last message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from minivault.config import Settings
from minivault.service import Loaded
from minivault.types import Message, Reading
from tests.scripted import ByteTokenizer
from tests.scripted import backend as plain_backend


class ToolTokenizer(ByteTokenizer):
    has_tool_template = True

    def read_chat(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), *_options: Any) -> Reading:
        names = ",".join(tool["function"]["name"] for tool in tools)
        last = messages[-1]
        said = f"say got {last.content}" if last.role == "tool" else last.content
        return self.read(f"tools={names} {said}")


def backend(settings: Settings) -> Loaded:
    return replace(plain_backend(settings), tokenizer=ToolTokenizer())
