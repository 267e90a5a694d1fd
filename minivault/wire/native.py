"""MiniVault's own dialect: `POST /generate` and `POST /stream-generate`."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from minivault.errors import BadRequest, MiniVaultError, QuotaExceeded
from minivault.types import (
    Delta,
    Finished,
    GenerationRequest,
    Message,
    SamplingParams,
    Timings,
    Tokenizer,
    TokenLogprob,
    Usage,
    rfc3339,
)

MAX_STOPS = 8
MAX_STOP_CHARS = 256


class MessageBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


class GenerateBody(BaseModel):
    """The body of a native request; its limits and defaults are the documented ones."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"prompt": "Hello"}]})

    prompt: str | None = Field(None, min_length=1, description="the text to answer or continue")
    messages: list[MessageBody] | None = Field(None, min_length=1, description="a conversation, instead of `prompt`")
    stream: bool = Field(False, description="answer piece by piece")
    system: str | None = Field(None, description="instructions before the conversation")
    raw: bool | None = Field(None, description="continue the prompt as it is, without the chat template")
    model: str | None = Field(None, min_length=1, description="the served model's name")
    max_tokens: int = Field(256, ge=1, le=131072, description="most tokens to generate")
    temperature: float = Field(0.7, ge=0, le=2)
    top_k: int = Field(40, ge=0, description="0 = off")
    top_p: float = Field(0.95, ge=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, ge=1, le=2)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="drawn and returned when absent")
    stop: str | list[str] | None = Field(None, description="a text, or up to 8, at which the answer ends")
    logprobs: int | None = Field(None, ge=0, le=20, description="number of top alternatives to report")
    format: Literal["json"] | dict[str, Any] | None = Field(None, description='`"json"` or a JSON schema')

    @field_validator("stop")
    @classmethod
    def _stops_are_few_and_short(cls, value: str | list[str] | None) -> list[str]:
        stops = [value] if isinstance(value, str) else (value or [])
        if len(stops) > MAX_STOPS:
            raise ValueError(f"at most {MAX_STOPS} stop strings, not {len(stops)}")
        if any(not 1 <= len(stop) <= MAX_STOP_CHARS for stop in stops):
            raise ValueError(f"each stop string needs 1 to {MAX_STOP_CHARS} characters")
        return stops

    @model_validator(mode="after")
    def _one_input(self) -> GenerateBody:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send exactly one of `prompt` and `messages`")
        if self.raw and (self.messages is not None or self.system is not None):
            raise ValueError("`raw` takes a `prompt` alone, without `messages` or `system`")
        return self


def decode(data: dict[str, Any]) -> GenerationRequest:
    """A parsed body as a request. Raises BadRequest naming the field."""
    try:
        body = GenerateBody.model_validate(data)
    except ValidationError as error:
        raise bad_request(error) from None
    return GenerationRequest(
        prompt=body.prompt,
        messages=tuple(Message(m.role, m.content) for m in body.messages) if body.messages else None,
        system=body.system,
        raw=body.raw,
        model=body.model,
        stream=body.stream,
        params=_params(body),
    )


def _params(body: GenerateBody) -> SamplingParams:
    return SamplingParams(
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_k=body.top_k,
        top_p=body.top_p,
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
        stop=tuple(body.stop or ()),
        logprobs=body.logprobs,
        grammar=json.dumps(body.format) if isinstance(body.format, dict) else body.format,
    )


def bad_request(error: ValidationError) -> BadRequest:
    """The first fault of a pydantic validation as our own error, naming the field and what would be right."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"] if not _is_branch(part)) or None
    if first["type"] == "extra_forbidden":
        return BadRequest(f"`{field}` is not a field of this request; remove it", field=field)
    if first["type"] == "missing":
        return BadRequest(f"`{field}` is required", field=field)
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return BadRequest(f"`{field}` {reason}" if field else reason, field=field)


def _is_branch(part: int | str) -> bool:
    """Pydantic names the branch of a union in the location (`str`, `list[str]`, `dict[…]`); clients do not know it."""
    return isinstance(part, str) and (part in ("str", "int", "float", "bool") or "[" in part)


def usage(value: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": value.prompt_tokens,
        "completion_tokens": value.completion_tokens,
        "total_tokens": value.total_tokens,
        "cached_tokens": value.cached_tokens,
    }


def timings(value: Timings) -> dict[str, int]:
    return {
        "queued_ns": value.queued_ns,
        "prefill_ns": value.prefill_ns,
        "first_token_ns": value.first_token_ns,
        "total_ns": value.total_ns,
    }


def token(delta: Delta, index: int, tokenizer: Tokenizer) -> dict[str, Any]:
    """One streamed piece."""
    line: dict[str, Any] = {"token": delta.text, "index": index}
    if delta.logprobs:
        line["logprobs"] = logprobs(delta.logprobs, tokenizer)
    return line


def logprobs(values: tuple[TokenLogprob, ...], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Each token's text, natural-log probability and top alternatives, under the unmodified distribution."""

    def text(token_id: int) -> str:
        return tokenizer.token_bytes(token_id).decode("utf-8", "replace")

    return [
        {
            "token": text(value.token_id),
            "logprob": value.logprob,
            "top": [{"token": text(token_id), "logprob": logprob} for token_id, logprob in value.top],
        }
        for value in values
    ]


def summary(
    *, id: str, model: str, fingerprint: str, seed: int, finished: Finished, generated_at_ns: int
) -> dict[str, Any]:
    """What a whole reply and a stream's last line have in common."""
    return {
        "id": id,
        "finish_reason": finished.reason,
        "usage": usage(finished.usage),
        "model": model,
        "seed": seed,
        "fingerprint": fingerprint,
        "generated_at": rfc3339(generated_at_ns),
        "timings": timings(finished.timings),
    }


def error(failure: MiniVaultError, request_id: str) -> dict[str, Any]:
    """The body of every native error."""
    detail = {"code": failure.code, "message": failure.message, "field": failure.field, "request_id": request_id}
    numbers = failure.details if isinstance(failure, QuotaExceeded) else {}
    return {"error": {**detail, **numbers}}


def error_line(failure: MiniVaultError, request_id: str) -> dict[str, Any]:
    """The last line of a stream that broke after its first byte."""
    return {**error(failure, request_id), "done": True, "finish_reason": "error"}
