"""Replies of OpenAI's dialect."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from minivault.wire.schema import Count, Logprob, Receipted, ReceiptedAll, Shape, TokenLogprob

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
    reasoning_content: str = ""
    tool_calls: list[ToolCall] = []  # noqa: RUF012 - pydantic copies it


class ChatLogprobs(Shape):
    content: list[TokenLogprob]
    refusal: None


class ChatChoice(Shape):
    index: Count
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: EndReason


class PlacedToken(Shape):
    logprob: Logprob
    rank: Count
    decoded_token: str


PromptLogprobs = list[dict[str, PlacedToken] | None]
"""vLLM's: for each token of the prompt but the first, by token id, itself and the likeliest in its place."""


class ChatCompletion(Identity, ReceiptedAll):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage
    prompt_logprobs: PromptLogprobs = []  # noqa: RUF012 - pydantic copies it


class ChunkDelta(Shape):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    reasoning_content: str = ""
    tool_calls: list[IndexedToolCall] = []  # noqa: RUF012 - pydantic copies it


class ChunkChoice(Shape):
    index: Count
    delta: ChunkDelta
    logprobs: ChatLogprobs | None
    finish_reason: EndReason | None


class ChatCompletionChunk(Identity, Receipted):
    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    usage: Usage | None = None
    prompt_logprobs: PromptLogprobs = []  # noqa: RUF012 - pydantic copies it


class TextLogprobs(Shape):
    tokens: list[str]
    token_logprobs: list[Logprob | None]
    top_logprobs: list[dict[str, Logprob] | None]
    text_offset: list[Count]


class TextChoice(Shape):
    text: str
    index: Count
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    prompt_logprobs: PromptLogprobs = []  # noqa: RUF012 - pydantic copies it


class TextCompletion(Identity, ReceiptedAll):
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


class Embeddings(Receipted):
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


class OutputCustomCall(Shape):
    type: Literal["custom_tool_call"]
    id: str
    call_id: str
    status: Literal["completed"]
    name: str
    input: str


class ThoughtText(Shape):
    type: Literal["reasoning_text"]
    text: str


class OutputThought(Shape):
    type: Literal["reasoning"]
    id: str
    status: Literal["completed"]
    summary: list[Any]
    content: list[ThoughtText]


class Incomplete(Shape):
    reason: str


class ResponseFault(Shape):
    code: str
    message: str


class InputDetails(PromptDetails):
    cache_write_tokens: Count


class ResponseUsage(Shape):
    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: CompletionDetails
    total_tokens: Count


class Response(Receipted):
    id: str
    object: Literal["response"]
    created_at: Count
    status: Literal["completed", "incomplete", "in_progress", "failed"]
    background: Literal[False]
    error: ResponseFault | None
    incomplete_details: Incomplete | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, Any]
    model: str
    output: list[OutputThought | OutputMessage | OutputCall | OutputCustomCall]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: Count
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None


class ResponseInputTokens(Shape):
    object: Literal["response.input_tokens"]
    input_tokens: Count


class ResponseDeleted(Shape):
    """It is served no more. `note` says what the vault keeps."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]
    note: str


class InputItems(Shape):
    """A page of items. Their members depend on their `type`."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseEvent(Shape):
    """One event of a stream. Which other members it has depends on `type`."""

    model_config = ConfigDict(extra="allow")

    type: str
    sequence_number: Count
