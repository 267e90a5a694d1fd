"""Replies of Ollama's dialect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from minivault.wire.schema import Count, Nanoseconds, Receipted, Shape, Time, TokenLogprob

DoneReason = Literal["stop", "length", "load", "unload"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Duration = Annotated[Nanoseconds, Field(ge=1)]


class Line(Receipted):
    """What every line has; the members with defaults come with the last."""

    model: str
    created_at: Time
    done: bool
    done_reason: DoneReason = "stop"
    total_duration: Duration = 1
    load_duration: Duration = 1
    prompt_eval_count: Count = 0
    prompt_eval_duration: Duration = 1
    eval_count: Count = 0
    eval_duration: Duration = 1
    logprobs: list[TokenLogprob] = []  # noqa: RUF012 - pydantic copies it


class Generated(Line):
    """A whole reply of `/api/generate`, or a line of its stream."""

    response: str
    thinking: str = ""
    context: list[int] = []  # noqa: RUF012 - pydantic copies it


class CalledFunction(Shape):
    index: Count
    name: str
    arguments: dict[str, Any]


class ToolCall(Shape):
    function: CalledFunction


class ReplyMessage(Shape):
    role: Literal["assistant"]
    content: str
    thinking: str = ""
    tool_calls: list[ToolCall] = []  # noqa: RUF012 - pydantic copies it


class Chatted(Line):
    """A whole reply of `/api/chat`, or a line of its stream."""

    message: ReplyMessage


class Error(Shape):
    """Every error, also as the last line of a stream that broke."""

    error: str


class Details(Shape):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str
    context_length: Count
    embedding_length: Count


class Listed(Shape):
    name: str
    model: str
    size: Count
    digest: Digest
    details: Details


class Tag(Listed):
    modified_at: Time
    capabilities: list[str]


class Tags(Shape):
    models: list[Tag]


class Loaded(Listed):
    expires_at: Time
    size_vram: Count
    context_length: Count


class Ps(Shape):
    models: list[Loaded]


class Show(Shape):
    license: str
    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, str | int]
    capabilities: list[str]
    modified_at: Time


class Version(Shape):
    version: str


class Cloud(Shape):
    disabled: bool
    source: str


class Status(Shape):
    cloud: Cloud


class Embedded(Receipted):
    model: str
    embeddings: list[list[float]]
    total_duration: Duration
    load_duration: Duration
    prompt_eval_count: Count


class OldEmbedded(Receipted):
    embedding: list[float]
