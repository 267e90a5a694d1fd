"""Fields that several OpenAI requests share, with OpenAI's ranges and defaults."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from minivault.errors import BadRequest
from minivault.types import PATTERN, SamplingParams
from minivault.wire.validation import Body

MAX_CHOICES = 128
MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_STOP_TOKENS = 256
NO_LIMIT = -1
MAX_LOGIT_BIASES = 1024
SEED_SPACE = 2**63

Temperature = Annotated[float, Field(ge=0, le=2)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Repetition = Annotated[float, Field(gt=0, le=2)]
Stop = str | list[str]
Tokens = list[int]
Inputs = str | list[str] | Tokens | list[Tokens]


def _some_or_no_limit(value: int) -> int:
    if value == 0:
        raise ValueError("must be at least 1, or -1 for what the context leaves")
    return value


Limit = Annotated[int, Field(ge=NO_LIMIT), AfterValidator(_some_or_no_limit)]
"""Most tokens of an answer; -1 = what the context leaves."""


def _read_schema(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise ValueError("must be a JSON schema, or its text") from None


Choices = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
GuidedJson = Annotated[dict[str, Any], BeforeValidator(_read_schema)]


class Strict(Body):
    """An object in which every member is of the exact JSON type."""

    model_config = ConfigDict(strict=True)


class StreamOptions(Strict):
    include_usage: bool = False


class Drawn(Strict):
    """How the tokens of an answer are drawn, under the names of OpenAI, vLLM and llama.cpp."""

    temperature: Temperature = 1.0
    top_p: Probability = 1.0
    top_k: int = Field(0, ge=-1, description="0 or -1 = off")
    min_p: Probability = 0.0
    repetition_penalty: Repetition = 1.0
    repeat_penalty: Repetition = Field(1.0, description="another name of `repetition_penalty`")
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(
        default_factory=dict, max_length=MAX_LOGIT_BIASES, description="token id → what to add to its logit"
    )
    seed: int | None = Field(None, ge=-SEED_SPACE, lt=SEED_SPACE)
    stop: Stop = Field(default_factory=list)
    ignore_eos: bool = Field(False, description="go on where the model would end")
    min_tokens: int = Field(0, ge=0, description="tokens before any that ends the answer")
    stop_token_ids: list[int] = Field(default_factory=list, max_length=MAX_STOP_TOKENS)

    @field_validator("stop")
    @classmethod
    def _stops_are_few_and_short(cls, value: Stop) -> Stop:
        stops = [value] if isinstance(value, str) else value
        if len(stops) > MAX_STOPS:
            raise ValueError(f"at most {MAX_STOPS} stop strings")
        if any(not 1 <= len(stop) <= MAX_STOP_CHARS for stop in stops):
            raise ValueError(f"each stop string needs 1 to {MAX_STOP_CHARS} characters")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _biases_name_tokens(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(key.isascii() and key.isdigit() for key in value):
            raise ValueError("keys must be token ids")
        return value

    def sampling(self, choice: int, max_tokens: int, logprobs: int | None, grammar: str | None) -> SamplingParams:
        """Parameters of one choice: the same seed gives different choices different, repeatable draws."""
        is_renamed = self.repetition_penalty == 1 and "repeat_penalty" in self.model_fields_set
        repetition = "repeat_penalty" if is_renamed else "repetition_penalty"
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_k=max(self.top_k, 0),
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=getattr(self, repetition),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=None if self.seed is None else (self.seed + choice) % SEED_SPACE,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
            logprobs=logprobs,
            logit_bias=tuple((int(token_id), bias) for token_id, bias in self.logit_bias.items()),
            grammar=grammar,
            ignore_eos=self.ignore_eos,
            min_tokens=self.min_tokens,
            stop_token_ids=tuple(self.stop_token_ids),
            unsaid=self.unsaid(repetition_penalty=repetition),
        )


class NamedSchema(Strict):
    """The schema of `response_format`. Output always follows it, with or without `strict`."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    strict: bool | None = None
    json_schema: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Strict):
    """How the answer must parse."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @property
    def grammar(self) -> str | None:
        schema = self.json_schema.json_schema if self.json_schema else None
        return grammar_of(self.type, schema, "response_format.json_schema")


class Guided(Strict):
    """How the answer must parse, in vLLM's words: one of these."""

    json_schema: GuidedJson | None = Field(None, alias="json", description="a JSON schema, or its text")
    json_object: bool = False
    regex: str | None = Field(None, description="what the whole answer matches")
    choice: Choices | None = Field(None, description="what the answer may be")

    @property
    def grammars(self) -> list[str]:
        """Of each that is given."""
        found = ["json"] if self.json_object else []
        found += [json.dumps(self.json_schema)] if self.json_schema is not None else []
        found += [PATTERN + self.regex] if self.regex is not None else []
        return found + ([PATTERN + "|".join(map(re.escape, self.choice))] if self.choice else [])


class Sampled(Drawn):
    """What chat and text completions share."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    response_format: ResponseFormat | None = None
    structured_outputs: Guided | None = None
    guided_json: GuidedJson | None = Field(None, description="older name of `structured_outputs.json`")
    guided_regex: str | None = Field(None, description="older name of `structured_outputs.regex`")
    guided_choice: Choices | None = Field(None, description="older name of `structured_outputs.choice`")

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> Sampled:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options are only allowed with stream: true")
        return self

    @model_validator(mode="after")
    def _one_format(self) -> Sampled:
        if len(self._formats) > 1:
            raise ValueError(f"send one of {' and '.join(self._formats)}")
        if self.structured_outputs and len(self.structured_outputs.grammars) > 1:
            raise ValueError("structured_outputs: send one of its members")
        return self

    @property
    def _formats(self) -> list[str]:
        """The fields that say how the answer must parse."""
        names = ("response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice")
        return [name for name in names if getattr(self, name) is not None]

    @property
    def has_usage_chunk(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def format_field(self) -> str:
        """The field that says how the answer must parse."""
        return next(iter(self._formats), "response_format")

    @property
    def grammar(self) -> str | None:
        """What the answer must parse as, by its own wish."""
        if self.response_format:
            return self.response_format.grammar
        guided = self.structured_outputs or Guided(
            json=self.guided_json, regex=self.guided_regex, choice=self.guided_choice
        )
        return next(iter(guided.grammars), None)


def bounded(limit: int | None, context: int) -> int:
    """Most tokens of an answer, by a `Limit` and the model's context."""
    return context if limit is None or limit == NO_LIMIT else min(limit, context)


def listed(inputs: Inputs) -> list[str | Tokens]:
    """Every input, as text or as token ids."""
    if isinstance(inputs, str):
        return [inputs]
    tokens = [item for item in inputs if isinstance(item, int)]
    return [tokens] if tokens else [item for item in inputs if not isinstance(item, int)]


def grammar_of(kind: str, schema: dict[str, Any] | None, field: str) -> str | None:
    """A format as `SamplingParams.grammar`. Raises BadRequest when a schema is promised and missing."""
    if kind == "json_schema" and schema is None:
        raise BadRequest(f"{field} is required with type json_schema", field=field)
    return {"text": None, "json_object": "json", "json_schema": json.dumps(schema)}[kind]
