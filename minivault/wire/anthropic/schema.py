"""Replies of Anthropic's dialect."""

from __future__ import annotations

from typing import Any, Literal

from minivault.wire.schema import Count, Receipted, Shape, Time

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class OutputDetails(Shape):
    thinking_tokens: Count


class Usage(Shape):
    """The prompt has `input_tokens` and `cache_read_input_tokens` together."""

    input_tokens: Count
    cache_creation_input_tokens: Count
    cache_read_input_tokens: Count
    output_tokens: Count
    output_tokens_details: OutputDetails


class TextBlock(Shape):
    type: Literal["text"]
    text: str


class ThinkingBlock(Shape):
    """The signature is the id of the record that holds the thoughts."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseBlock(Shape):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class Message(Receipted):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ThinkingBlock | TextBlock | ToolUseBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage


class MessageStart(Shape):
    type: Literal["message_start"]
    message: Message


class BlockStart(Shape):
    type: Literal["content_block_start"]
    index: Count
    content_block: ThinkingBlock | TextBlock | ToolUseBlock


class Ping(Shape):
    type: Literal["ping"]


class TextDelta(Shape):
    type: Literal["text_delta"]
    text: str


class ThinkingDelta(Shape):
    type: Literal["thinking_delta"]
    thinking: str


class SignatureDelta(Shape):
    type: Literal["signature_delta"]
    signature: str


class InputDelta(Shape):
    type: Literal["input_json_delta"]
    partial_json: str


class BlockDelta(Shape):
    type: Literal["content_block_delta"]
    index: Count
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockStop(Shape):
    type: Literal["content_block_stop"]
    index: Count


class Ending(Shape):
    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Shape):
    type: Literal["message_delta"]
    delta: Ending
    usage: Usage


class MessageStop(Receipted):
    type: Literal["message_stop"]


class ErrorDetails(Shape):
    error_code: str


class ErrorDetail(Shape):
    type: str
    message: str
    details: ErrorDetails


class Error(Shape):
    type: Literal["error"]
    error: ErrorDetail
    request_id: str


class TokenCount(Shape):
    input_tokens: Count


class Model(Shape):
    type: Literal["model"]
    id: str
    display_name: str
    created_at: Time
    lifecycle: Literal["active"]
    max_input_tokens: Count
    max_tokens: Count


class Models(Shape):
    data: list[Model]
    has_more: Literal[False]
    first_id: str
    last_id: str


EVENTS = (MessageStart, BlockStart, Ping, BlockDelta, BlockStop, MessageDelta, MessageStop, Error)
"""What a stream is made of."""
