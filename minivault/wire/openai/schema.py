"""Replies of OpenAI's dialect."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from minivault.wire.schema import Count, Logprob, Shape, TokenLogprob

EndReason = Literal["stop", "length", "tool_calls"]


class PromptDetails(Shape):
    cached_tokens: Count


class CompletionDetails(Shape):
    reasoning_tokens: Count


class Usage(Shape):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Identity(Shape):
    id: str
    created: Count
    model: str
    system_fingerprint: str


class CalledFunction(Shape):
    name: str
    arguments: str


class ToolCall(Shape):
    id: str
    type: Literal["function"]
    function: CalledFunction


class IndexedToolCall(ToolCall):
    index: Count


class ReplyMessage(Shape):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] = []  # noqa: RUF012 - pydantic copies it


class ChatLogprobs(Shape):
    content: list[TokenLogprob]
    refusal: None


class ChatChoice(Shape):
    index: Count
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: EndReason


class ChatCompletion(Identity):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class ChunkDelta(Shape):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    tool_calls: list[IndexedToolCall] = []  # noqa: RUF012 - pydantic copies it


class ChunkChoice(Shape):
    index: Count
    delta: ChunkDelta
    logprobs: ChatLogprobs | None
    finish_reason: EndReason | None


class ChatCompletionChunk(Identity):
    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    usage: Usage | None = None


class TextLogprobs(Shape):
    tokens: list[str]
    token_logprobs: list[Logprob]
    top_logprobs: list[dict[str, Logprob]]
    text_offset: list[Count]


class TextChoice(Shape):
    text: str
    index: Count
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(Identity):
    """A whole reply, or a chunk."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: Usage | None = None


class ErrorDetail(Shape):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(Shape):
    error: ErrorDetail


class Model(Shape):
    id: str
    object: Literal["model"]
    created: Count
    owned_by: str
    max_model_len: Count
    context_length: Count


class Models(Shape):
    object: Literal["list"]
    data: list[Model]


class Embedding(Shape):
    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class EmbeddingUsage(Shape):
    prompt_tokens: Count
    total_tokens: Count


class Embeddings(Shape):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class OutputText(Shape):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class OutputMessage(Shape):
    type: Literal["message"]
    id: str
    status: Literal["completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class OutputCall(Shape):
    type: Literal["function_call"]
    id: str
    call_id: str
    status: Literal["completed"]
    name: str
    arguments: str


class Incomplete(Shape):
    reason: Literal["max_output_tokens"]


class ResponseUsage(Shape):
    input_tokens: Count
    input_tokens_details: PromptDetails
    output_tokens: Count
    output_tokens_details: CompletionDetails
    total_tokens: Count


class Response(Shape):
    id: str
    object: Literal["response"]
    created_at: Count
    status: Literal["completed", "incomplete", "in_progress"]
    error: None
    incomplete_details: Incomplete | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputMessage | OutputCall]
    parallel_tool_calls: bool
    previous_response_id: None
    store: Literal[False]
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None


class ResponseEvent(Shape):
    """One event of a stream. Which other members it has depends on `type`."""

    model_config = ConfigDict(extra="allow")

    type: str
    sequence_number: Count
