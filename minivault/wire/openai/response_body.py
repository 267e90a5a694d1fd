"""The body of `POST /v1/responses`: text in, text out, without state."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from minivault.errors import BadRequest
from minivault.types import GenerationRequest, Message, SamplingParams
from minivault.wire.openai.fields import Probability, Strict, Temperature, grammar_of
from minivault.wire.openai.messages import CalledFunction, ChatMessage, TextPart, ToolCallPart
from minivault.wire.openai.thinking import ReasoningOptions, thinking
from minivault.wire.openai.tool_choice import FREE_CHOICES, offer
from minivault.wire.tool_calls import Offered, offered, with_tool_names


class InputItem(Strict):
    """One item of `input`: a message, a call the model made, or what the called function returned."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[TextPart] | None = None
    id: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[TextPart] | None = None

    def message(self) -> Message:
        """This item as a turn. Raises BadRequest when a member its type needs is missing."""
        if self.type == "message":
            return ChatMessage(role=self._needed("role"), content=self.content).message()
        call_id: str = self._needed("call_id")
        if self.type == "function_call":
            function = CalledFunction(name=self._needed("name"), arguments=self._needed("arguments"))
            return ChatMessage(role="assistant", tool_calls=[ToolCallPart(id=call_id, function=function)]).message()
        return ChatMessage(role="tool", content=self._needed("output"), tool_call_id=call_id).message()

    def _needed(self, name: str) -> Any:
        value = getattr(self, name)
        if value is None:
            raise BadRequest(f"input: an item of type {self.type} needs {name}", field="input")
        return value


class FlatTool(Strict):
    """A tool; not nested here as it is in chat."""

    type: Literal["function"]
    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def nested(self) -> dict[str, Any]:
        return {"type": "function", "function": self.model_dump(exclude={"type"}, exclude_none=True)}


class TextFormat(Strict):
    """How the answer must parse."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class TextOptions(Strict):
    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ResponseStreamOptions(Strict):
    include_obfuscation: Literal[False] = False


class ResponseBody(Strict):
    """The body of `/v1/responses`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "input": "Say hello."}]})

    model: str
    input: str | list[InputItem] = Field(min_length=1)
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: Temperature = 1.0
    top_p: Probability = 1.0
    stream: bool = False
    stream_options: ResponseStreamOptions | None = None
    text: TextOptions | None = None
    tools: list[FlatTool] = Field(default_factory=list, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = Field(None, description="no effect: the model decides how many")
    metadata: dict[str, str] | None = None
    store: bool | None = Field(None, description="no effect: answers are kept in the vault and not served again")
    truncation: Literal["disabled"] | None = None
    reasoning: ReasoningOptions | None = None
    background: Literal[False] | None = None
    include: list[str] | None = Field(None, max_length=0)
    service_tier: Literal["auto", "default"] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    user: str | None = None

    @property
    def format_field(self) -> str:
        """The field that says how the answer must parse."""
        if self.tool_choice not in FREE_CHOICES:
            return "tool_choice"
        return "text.format" if self.text and self.text.format else "tools"

    @property
    def has_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def grammar(self) -> str | None:
        """What the answer must parse as, by its own wish."""
        wanted = self.text.format if self.text else None
        return grammar_of(wanted.type, wanted.json_schema, "text.format.schema") if wanted else None

    @property
    def callable_tools(self) -> Offered:
        """The tools whose calls are read from the answer: none where it must keep to a format."""
        return offered(map(FlatTool.nested, self.tools)) if self.has_tools and self.grammar is None else {}

    def generation(self, context: int) -> GenerationRequest:
        """The request for the engine; `context` bounds an answer that has no limit of its own."""
        told = offer([tool.nested() for tool in self.tools], self.tool_choice, self.grammar)
        items = [InputItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return GenerationRequest(
            messages=with_tool_names([item.message() for item in items]),
            system=self.instructions,
            tools=told.tools,
            stream=self.stream,
            **thinking(None, self.reasoning),
            params=SamplingParams(
                max_tokens=min(self.max_output_tokens or context, context),
                temperature=self.temperature,
                top_k=0,
                top_p=self.top_p,
                grammar=told.grammar,
                calls=told.calls,
            ),
        )
