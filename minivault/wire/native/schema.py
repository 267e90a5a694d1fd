"""Replies of the native dialect."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from minivault.wire.schema import Count, Logprob, Nanoseconds, Receipted, Shape, Time

Reason = Literal["stop", "length", "cancelled", "deadline", "shutdown"]


class Usage(Shape):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cached_tokens: Count
    reasoning_tokens: Count = 0


class Timings(Shape):
    queued_ns: Nanoseconds
    prefill_ns: Nanoseconds
    first_token_ns: Nanoseconds
    total_ns: Nanoseconds


class Alternative(Shape):
    token: str
    logprob: Logprob


class ChosenToken(Alternative):
    top: list[Alternative]


class PromptToken(Shape):
    """A token of the prompt, given those before it; the first has no number."""

    token: str
    logprob: Logprob | None
    top: list[Alternative]


class Summary(Receipted):
    """What a whole reply and a stream's last line have in common."""

    id: str
    finish_reason: Reason
    dropped_messages: Count = Field(
        0, description="messages left out at the beginning, because `truncate` asked for it"
    )
    usage: Usage
    model: str
    seed: int
    fingerprint: str
    generated_at: Time
    timings: Timings


class Generated(Summary):
    """A whole reply."""

    response: str
    reasoning: str = Field("", description="what the model thought first")
    logprobs: list[ChosenToken] = []  # noqa: RUF012 - pydantic copies it
    prompt_logprobs: list[PromptToken] = []  # noqa: RUF012 - pydantic copies it


class Token(Shape):
    """A piece of a stream: text that is valid UTF-8 on its own."""

    token: str
    index: Count
    reasoning: str = Field("", description="a piece of what the model thinks first; `token` is empty then")
    logprobs: list[ChosenToken] = []  # noqa: RUF012 - pydantic copies it
    prompt_logprobs: list[PromptToken] = []  # noqa: RUF012 - pydantic copies it


class StreamEnd(Summary):
    """The last line of a stream."""

    done: Literal[True]


class Piece(Shape):
    id: Count
    piece: str | list[int]


class Tokenized(Shape):
    """For `content` it is `tokens` alone, as pieces where they were asked for."""

    count: Count = 0
    max_model_len: Count = 0
    tokens: list[Count] | list[Piece]
    token_strs: list[str] | None = None


class Detokenized(Shape):
    prompt: str
    content: str


class Ready(Shape):
    """The model is loaded and the vault can be written."""

    status: Literal["ready"]
    model: str
    fingerprint: str


class ErrorDetail(Shape):
    code: str
    message: str
    field: str | None
    request_id: str
    policy: str = Field("", description="with 429: what is counted")
    limit: int = 0
    remaining: int = 0
    window_s: int = 0
    retry_after_s: int = 0


class Error(Shape):
    error: ErrorDetail


class StreamError(Error):
    """The last line of a stream that broke."""

    done: Literal[True]
    finish_reason: Literal["error"]
