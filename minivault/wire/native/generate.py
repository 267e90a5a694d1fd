"""`POST /generate` and `POST /stream-generate`: requests, whole replies, a stream's lines, and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal, Protocol

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
from minivault.wire.fields import NATIVE, Foreign
from minivault.wire.logprobs import NumAlternatives, finite, token_text
from minivault.wire.reply import Answer
from minivault.wire.validation import Body, Wording, validated

MAX_STOPS = 16
NO_LIMIT = 2**31
"""What the context leaves bounds the answer."""
MAX_STOP_CHARS = 256
MAX_STOP_TOKENS = 256


class MessageBody(Body):
    model_config = ConfigDict(strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


class GenerateBody(Body):
    """The body of a native request; its limits and defaults are the documented ones."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"prompt": "Hello"}]})

    foreign: ClassVar[Foreign] = NATIVE

    prompt: str | None = Field(None, min_length=1, description="the text to answer or continue")
    messages: list[MessageBody] | None = Field(None, min_length=1, description="a conversation, instead of `prompt`")
    stream: bool = Field(False, description="answer piece by piece")
    truncate: bool = Field(
        False, description="leave out the oldest turns of `messages` that do not fit, instead of refusing"
    )
    system: str | None = Field(None, description="instructions before the conversation")
    raw: bool | None = Field(None, description="continue the prompt as it is, without the chat template")
    model: str | None = Field(None, min_length=1, description="the served model's name")
    continue_final_message: bool = Field(False, description="go on with the last message, which is the assistant's")
    chat_template_kwargs: dict[str, Any] = Field({}, description="variables of the model's chat template")
    max_tokens: int = Field(
        256,
        ge=-1,
        le=131072,
        description="most tokens to generate; -1 = what the context leaves, 0 with `prompt_logprobs` alone",
    )
    min_tokens: int = Field(0, ge=0, description="tokens before any that ends the answer")
    ignore_eos: bool = Field(False, description="go on where the model would end")
    stop_token_ids: list[int] = Field([], max_length=MAX_STOP_TOKENS, description="tokens that end the answer")
    temperature: float = Field(0.7, ge=0, le=2)
    top_k: int = Field(40, ge=0, description="0 = off")
    top_p: float = Field(0.95, ge=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, ge=1, le=2)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="drawn and returned when absent")
    stop: str | list[str] | None = Field(None, description="a text, or up to 16, at which the answer ends")
    logprobs: int | None = Field(None, ge=0, le=20, description="number of top alternatives to report")
    prompt_logprobs: NumAlternatives | None = Field(None, description="the same for each token of the prompt")
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
        if not self.max_tokens and self.prompt_logprobs is None:
            raise ValueError(
                "`max_tokens` must be at least 1, or -1 for what there is room for (0 with `prompt_logprobs`)"
            )
        if self.continue_final_message and (not self.messages or self.messages[-1].role != "assistant"):
            raise ValueError("`continue_final_message` needs `messages` that end with one of the assistant's")
        if self.raw and (self.messages is not None or self.system is not None):
            raise ValueError("`raw` takes a `prompt` alone, without `messages` or `system`")
        return self

    def generation(self) -> GenerationRequest:
        """The request for the engine."""
        params = SamplingParams(
            max_tokens=NO_LIMIT if self.max_tokens == -1 else self.max_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
            stop=tuple(self.stop or ()),
            logprobs=self.logprobs,
            prompt_logprobs=self.prompt_logprobs,
            grammar=json.dumps(self.format) if isinstance(self.format, dict) else self.format,
            ignore_eos=self.ignore_eos,
            min_tokens=self.min_tokens,
            stop_token_ids=tuple(self.stop_token_ids),
            unsaid=self.unsaid(),
        )
        return GenerationRequest(
            prompt=self.prompt,
            messages=tuple(Message(m.role, m.content) for m in self.messages) if self.messages else None,
            system=self.system,
            raw=self.raw,
            continues=self.continue_final_message,
            template_options=tuple(self.chat_template_kwargs.items()),
            drops_turns=self.truncate,
            thinks=None if self.think is None else bool(self.think),
            thinking_effort=self.think if isinstance(self.think, str) else None,
            thinking_budget=self.thinking_budget,
            model=self.model,
            stream=self.stream,
            params=params,
        )


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
    return validated(GenerateBody, data, WORDING).generation()


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
        if event.prompt_logprobs is None:
            return []
        self._num_tokens += 1
        return [{"token": "", "index": 0, "prompt_logprobs": _encode_prompt(event.prompt_logprobs)}]

    def end(self) -> list[dict[str, Any]]:
        return []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        summary = self.summary(answer.finished)
        reply = {"id": summary.pop("id"), "response": answer.text, **summary}
        if answer.reasoning:
            reply["reasoning"] = answer.reasoning
        if self._has_logprobs:
            reply["logprobs"] = _encode_logprobs(answer.logprobs)
        if answer.prompt_logprobs is not None:
            reply["prompt_logprobs"] = _encode_prompt(answer.prompt_logprobs)
        return reply

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
            "token": token_text(item.data) or item.name,
            "logprob": finite(item.logprob),
            "top": [{"token": token_text(one.data) or one.name, "logprob": finite(one.logprob)} for one in item.top],
        }
        for item in logprobs
    ]


def _encode_prompt(logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """The same of a prompt's tokens, those that are no text by name; nothing precedes the first."""
    given: dict[str, Any] = {"token": token_text(logprobs[0].data) or logprobs[0].name, "logprob": None, "top": []}
    return [given, *_encode_logprobs(logprobs[1:])]
