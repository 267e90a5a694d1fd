"""`POST /api/chat`: requests, whole replies and a stream's lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from minivault.talk.calls import HERMES
from minivault.types import Delta, Event, Failed, Finished, GenerationRequest
from minivault.wire.fields import OLLAMA_CHAT, Foreign
from minivault.wire.logprobs import spoken
from minivault.wire.ollama.fields import Generating
from minivault.wire.ollama.lines import Clock, Lines, encode_error
from minivault.wire.ollama.messages import MessageBody, Tool
from minivault.wire.openai.tool_choice import FREE_CHOICES, may_call, offer
from minivault.wire.reply import Answer
from minivault.wire.tool_calls import Offered, ToolCall, ToolCallReader, offered, read_tool_calls, with_tool_names


class ChatBody(Generating):
    """`POST /api/chat`. No messages ask to load the model, or to unload it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hi"}], "stream": False}]
        }
    )

    foreign: ClassVar[Foreign] = OLLAMA_CHAT

    messages: list[MessageBody] = Field([])
    tools: list[Tool] = Field([])
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = Field(
        None, description="as in OpenAI's dialect; Ollama itself leaves every choice to the model"
    )

    @property
    def format_field(self) -> str:
        """The field that says how the answer must parse."""
        if self.tool_choice not in FREE_CHOICES:
            return "tool_choice"
        return "format" if self.format else "tools"

    @property
    def is_load(self) -> bool:
        return not self.messages

    @property
    def continues(self) -> bool:
        """A last message of the assistant's is the beginning of the answer."""
        return bool(self.messages) and self.messages[-1].role == "assistant" and not self.messages[-1].tool_calls

    @property
    def callable_tools(self) -> Offered:
        """The tools whose calls are read from the answer: none where it must keep to a format."""
        return offered(self.tools) if may_call(self.tool_choice, self._grammar) else {}

    def ensure_possible(self) -> None:
        """Refuse what cannot be honoured. Raises BadRequest in Ollama's words."""
        self._refuse_what_no_model_here_can()

    def generation(self, context: int) -> GenerationRequest:
        """The request for the engine; `context` is the model's, in tokens. Raises BadRequest naming `tool_choice`."""
        told = offer(self.tools, self.tool_choice, self._grammar)
        return GenerationRequest(
            messages=with_tool_names([message.message() for message in self.messages]),
            continues=self.continues,
            tools=told.tools,
            num_keep=self.options.num_keep if self.truncate else None,
            most_read=self.options.most_read(context),
            stream=self.stream,
            **self._thinking,
            params=replace(self._sampling(context), grammar=told.grammar, calls=told.calls),
        )


class ChatReply(Lines):
    """Text in `message`, and tool calls with their arguments as objects when tools were offered."""

    NOTHING: ClassVar[dict[str, Any]] = {"message": {"role": "assistant", "content": ""}}

    def __init__(self, model: str, clock: Clock, tools: Offered | None = None, call_format: str = HERMES) -> None:
        super().__init__(model, clock)
        self._tools = ToolCallReader(tools, call_format) if tools else None

    def encode(self, _index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            text, calls = self._tools.feed(event.text) if self._tools else (event.text, [])
            logprobs = event.logprobs and spoken(event.logprobs)
            lines = (
                [self._line(_said(text, (), event.reasoning), logprobs)] if text or logprobs or event.reasoning else []
            )
            return [*lines, self._line(_said("", calls))] if calls else lines
        if isinstance(event, Finished):
            text, calls = self._tools.finish() if self._tools else ("", [])
            lines = [self._line(_said(text))] if text else []
            lines += [self._line(_said("", calls))] if calls else []
            return [*lines, self._last(event, self.NOTHING)]
        return [encode_error(event.error)] if isinstance(event, Failed) else []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        tools = self._tools
        text, calls = read_tool_calls(answer.text, tools.tools, tools.format) if tools else (answer.text, [])
        return self._last(answer.finished, _said(text, calls, answer.reasoning), spoken(answer.logprobs))


def _said(text: str, calls: Sequence[ToolCall] = (), thinking: str = "") -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [
            {"function": {"index": index, "name": call.name, "arguments": call.arguments}}
            for index, call in enumerate(calls)
        ]
    return {"message": message}
