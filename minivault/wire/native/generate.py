"""`POST /generate` and `POST /stream-generate`: requests, whole replies, a stream's lines, and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import ErrorDetails

from minivault.errors import BadRequest, QuotaExceeded
from minivault.faults import reason
from minivault.moment import rfc3339
from minivault.types import (
    Delta,
    Event,
    Failed,
    Finished,
    GenerationRequest,
    Message,
    SamplingParams,
    TokenLogprob,
    Usage,
)
from minivault.wire.dialect import shown
from minivault.wire.logprobs import token_text
from minivault.wire.reply import Answer
from minivault.wire.validation import Body, Wording, validated

MAX_STOPS = 8
MAX_STOP_CHARS = 256


class MessageBody(Body):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


class GenerateBody(Body):
    """The body of a native request; its limits and defaults are the documented ones."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"prompt": "Hello"}]})

    prompt: str | None = Field(None, min_length=1, description="the text to answer or continue")
    messages: list[MessageBody] | None = Field(None, min_length=1, description="a conversation, instead of `prompt`")
    stream: bool = Field(False, description="answer piece by piece")
    truncate: bool = Field(
        False, description="leave out the oldest turns of `messages` that do not fit, instead of refusing"
    )
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
    think: bool | Literal["low", "medium", "high"] | None = Field(
        None, description="whether to think first, or how hard; as the model does by default when absent"
    )
    thinking_budget: int | None = Field(None, ge=0, description="most tokens of thought")
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


def _say_wrong(field: str, fault: ErrorDetails) -> str:
    return f"`{field}` {reason(fault)}" if field else reason(fault)


WORDING = Wording(
    unknown="`{field}` is not a field of this request; remove it",
    unknown_error=BadRequest,
    missing="`{field}` is required",
    wrong=_say_wrong,
    is_deepest_told=False,
)


def decode(data: dict[str, Any]) -> GenerationRequest:
    """A parsed body as a request. Raises BadRequest naming the field."""
    body = validated(GenerateBody, data, WORDING)
    return GenerationRequest(
        prompt=body.prompt,
        messages=tuple(Message(m.role, m.content) for m in body.messages) if body.messages else None,
        system=body.system,
        raw=body.raw,
        drops_turns=body.truncate,
        thinks=None if body.think is None else bool(body.think),
        thinking_effort=body.think if isinstance(body.think, str) else None,
        thinking_budget=body.thinking_budget,
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


class Identity(Protocol):
    """Whose answer it is: what a reply tells besides the answer."""

    @property
    def id(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def num_dropped(self) -> int: ...


class GenerateReply:
    """Encodes one answer. `clock` gives nanoseconds since 1970, `has_logprobs` says whether they were asked for."""

    def __init__(self, identity: Identity, clock: Callable[[], int], *, has_logprobs: bool = False) -> None:
        self._identity, self._clock, self._has_logprobs = identity, clock, has_logprobs
        self._num_tokens = 0

    def encode(self, _index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            if not event.text and not event.logprobs and not event.reasoning:
                return []
            line: dict[str, Any] = {"token": event.text, "index": self._num_tokens}
            if event.reasoning:
                line["reasoning"] = event.reasoning
            if event.logprobs:
                line["logprobs"] = _encode_logprobs(event.logprobs)
            self._num_tokens += 1
            return [line]
        if isinstance(event, Finished):
            return [{"done": True, **self.summary(event)}]
        if isinstance(event, Failed):
            return [{**encode_error(event.error, self._identity.id), "done": True, "finish_reason": "error"}]
        return []

    def end(self) -> list[dict[str, Any]]:
        return []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        summary = self.summary(answer.finished)
        reply = {"id": summary.pop("id"), "response": answer.text, **summary}
        if answer.reasoning:
            reply["reasoning"] = answer.reasoning
        return reply | ({"logprobs": _encode_logprobs(answer.logprobs)} if self._has_logprobs else {})

    def summary(self, finished: Finished) -> dict[str, Any]:
        """What a whole reply and a stream's last line have in common."""
        dropped = self._identity.num_dropped
        return {
            "id": self._identity.id,
            "finish_reason": finished.reason,
            **({"dropped_messages": dropped} if dropped else {}),
            "usage": _encode_usage(finished.usage),
            "model": self._identity.model,
            "seed": self._identity.seed,
            "fingerprint": self._identity.fingerprint,
            "generated_at": rfc3339(self._clock()),
            "timings": asdict(finished.timings),
        }


def encode_error(error: Exception, request_id: str) -> dict[str, Any]:
    """The body of every error."""
    ours = shown(error)
    detail = {"code": ours.code, "message": ours.message, "field": ours.field, "request_id": request_id}
    return {"error": detail | (ours.details if isinstance(ours, QuotaExceeded) else {})}


def _encode_usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        **({"reasoning_tokens": usage.reasoning_tokens} if usage.reasoning_tokens else {}),
    }


def _encode_logprobs(logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Each token's text, natural-log probability and top alternatives, under the unmodified distribution."""
    return [
        {
            "token": token_text(item.data),
            "logprob": item.logprob,
            "top": [{"token": token_text(other.data), "logprob": other.logprob} for other in item.top],
        }
        for item in logprobs
    ]
