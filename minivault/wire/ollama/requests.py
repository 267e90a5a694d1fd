"""Bodies of the Ollama routes, and how they become a `GenerationRequest`."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from minivault.errors import BadRequest, Unsupported
from minivault.types import GenerationRequest, Message, Role, SamplingParams
from minivault.wire.ollama.keep_alive import keep_alive_s
from minivault.wire.ollama.options import Options
from minivault.wire.validation import VERBATIM, validated

MAX_TOP_LOGPROBS = 20
CONTEXT_TOKENS = Annotated[list[int], Field(max_length=1 << 20)]


def _known_format(value: Any) -> Any:
    if value in ("json", "") or isinstance(value, dict):
        return value
    message = f'format must be "json" or a JSON schema, not {str(value)[:40]!r}'
    raise PydanticCustomError(VERBATIM, "{message}", {"message": message})


Format = Annotated[Literal["json", ""] | dict[str, Any], BeforeValidator(_known_format)]


class Addressed(BaseModel):
    """What every generating request has: a model, options and how long to keep it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str = ""
    options: Options = Field(default_factory=lambda: Options.model_validate({}))
    keep_alive: str | float | None = Field(None, description='a Go duration like `"5m"`, or seconds; 0 = unload')

    @property
    def is_unload(self) -> bool:
        return self.keep_alive is not None and keep_alive_s(self.keep_alive) == 0


class Generating(Addressed):
    """What `/api/generate` and `/api/chat` share."""

    format: Format = Field("", description='`"json"` or a JSON schema')
    stream: bool = True
    think: bool | str = False
    truncate: bool = Field(True, description="shorten a prompt that is too long instead of refusing it")
    shift: bool = Field(True, description="no effect: a full context ends the answer with `length`")
    logprobs: bool = False
    top_logprobs: int = 0
    debug_render_only: bool = Field(False, alias="_debug_render_only")

    def _refuse_what_no_model_here_can(self) -> None:
        if not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise BadRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}", field="top_logprobs")
        if self.think:
            raise Unsupported(f'"{self.model}" does not support thinking', field="think")
        if self.debug_render_only:
            raise Unsupported("_debug_render_only is not supported", field="_debug_render_only")
        if self.keep_alive is not None:
            keep_alive_s(self.keep_alive)

    def _sampling(self, context: int) -> SamplingParams:
        grammar = json.dumps(self.format) if isinstance(self.format, dict) else self.format or None
        return self.options.sampling(context, logprobs=self.top_logprobs if self.logprobs else None, grammar=grammar)


class GenerateBody(Generating):
    """`POST /api/generate`. An empty prompt asks to load the model, or to unload it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "smollm2-135m", "prompt": "Why is the sky blue?", "stream": False},
                {"model": "smollm2-135m", "prompt": "2+2=", "raw": True, "options": {"seed": 7, "num_predict": 8}},
            ]
        }
    )

    prompt: str = ""
    suffix: str = ""
    images: list[str] = []
    system: str = ""
    template: str = ""
    raw: bool = False
    context: CONTEXT_TOKENS = Field([], description="token ids from an earlier reply; deprecated")

    @property
    def is_load(self) -> bool:
        return not self.prompt

    def ensure_possible(self) -> None:
        """Refuse what cannot be honoured. Raises BadRequest in Ollama's words."""
        self._refuse_what_no_model_here_can()
        if self.raw and (self.template or self.system or self.context):
            raise BadRequest("raw mode does not support template, system, or context", field="raw")
        if self.suffix:
            raise Unsupported(f'"{self.model}" does not support insert', field="suffix")
        if self.images:
            raise Unsupported(f'"{self.model}" does not support vision', field="images")
        if self.template:
            raise Unsupported("a template of the request's own is not supported", field="template")

    def generation(self, context: int) -> GenerationRequest:
        """The request for the engine; `context` is the model's, in tokens."""
        return GenerationRequest(
            prompt=self.prompt,
            system=self.system or None,
            raw=True if self.raw else None,
            stream=self.stream,
            params=self._sampling(context),
        )


class FunctionCall(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    name: str
    arguments: dict[str, Any] = {}


class ToolCallBody(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    id: str | None = None
    function: FunctionCall


class MessageBody(BaseModel):
    """One turn as Ollama's clients write it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    @field_validator("role")
    @classmethod
    def _role_is_known(cls, value: str) -> str:
        if value.lower() not in ("system", "user", "assistant", "tool"):
            raise ValueError("must be one of system, user, assistant and tool")
        return value.lower()

    def message(self) -> Message:
        extra: dict[str, Any] = {}
        if self.tool_calls:
            extra["tool_calls"] = [
                {"type": "function", **call.model_dump(exclude_none=True)} for call in self.tool_calls
            ]
        if self.tool_name:
            extra["name"] = self.tool_name
        if self.tool_call_id:
            extra["tool_call_id"] = self.tool_call_id
        role: Role = self.role  # type: ignore[assignment]  # the validator above leaves only these four
        return Message(role, self.content or "", extra)


class ChatBody(Generating):
    """`POST /api/chat`. No messages ask to load the model, or to unload it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hi"}], "stream": False}]
        }
    )

    messages: list[MessageBody] = []
    tools: list[dict[str, Any]] = []

    @property
    def is_load(self) -> bool:
        return not self.messages

    def ensure_possible(self) -> None:
        """Refuse what cannot be honoured. Raises BadRequest in Ollama's words."""
        self._refuse_what_no_model_here_can()
        if any(message.images for message in self.messages):
            raise Unsupported(f'"{self.model}" does not support vision', field="messages")

    def generation(self, context: int) -> GenerationRequest:
        """The request for the engine; `context` is the model's, in tokens."""
        return GenerationRequest(
            messages=tuple(message.message() for message in self.messages),
            tools=tuple(self.tools),
            stream=self.stream,
            params=self._sampling(context),
        )


class EmbedBody(Addressed):
    """`POST /api/embed`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "input": ["one", "two"]}]})

    input: str | list[str] = []
    truncate: bool = True
    dimensions: int = Field(0, ge=0, description="keep only the first so many numbers; 0 = all")

    @field_validator("input", mode="before")
    @classmethod
    def _input_is_text(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            return value
        raise PydanticCustomError(VERBATIM, "invalid input type")

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) and self.input else list(self.input)


class OldEmbedBody(Addressed):
    """`POST /api/embeddings`, superseded by `/api/embed`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "prompt": "one"}]})

    prompt: str = ""


class ShowBody(BaseModel):
    """`POST /api/show`."""

    model_config = ConfigDict(extra="ignore", strict=True, json_schema_extra={"examples": [{"model": "smollm2-135m"}]})

    model: str = ""
    name: str = Field("", description="the older name of `model`")
    verbose: bool = False


def decode_generate(data: dict[str, Any]) -> GenerateBody:
    return validated(GenerateBody, data)


def decode_chat(data: dict[str, Any]) -> ChatBody:
    return validated(ChatBody, data)


def decode_embed(data: dict[str, Any]) -> EmbedBody:
    return validated(EmbedBody, data)


def decode_old_embed(data: dict[str, Any]) -> OldEmbedBody:
    return validated(OldEmbedBody, data)


def decode_show(data: dict[str, Any]) -> ShowBody:
    return validated(ShowBody, data)
