"""The body of `POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field

from minivault.errors import BadRequest, Unsupported
from minivault.types import GenerationRequest, SamplingParams
from minivault.wire.openai.fields import Probability, Strict, Temperature, grammar_of
from minivault.wire.openai.response_items import InputItem, turns
from minivault.wire.openai.response_tools import CustomTool, Tool, noted, told
from minivault.wire.openai.tool_choice import FREE_CHOICES, narrowed, offer
from minivault.wire.tool_calls import Offered, offered

NOTED = (
    *("include", "metadata", "user", "safety_identifier", "client_metadata", "service_tier", "parallel_tool_calls"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "max_tool_calls", "top_logprobs"),
    *("context_management", "moderation", "background_options"),
)
"""Fields that bind nobody: they are in the record, and those that a reply repeats in the reply."""

REFUSED = {
    "background": "no answer is made in the background: leave it out, and stream an answer that takes long",
    "conversation": "conversations are not kept by name: send previous_response_id, or the turns in input",
    "prompt": "prompts are not kept by name: send instructions and input",
}
"""Fields that would change the answer and cannot be done: what to do instead."""


class TextFormat(Strict):
    """How the answer must parse."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class TextOptions(Strict):
    format: TextFormat | None = None
    verbosity: str | None = Field(None, description="noted")


class ReasoningOptions(Strict):
    effort: str | None = None
    summary: str | None = Field(None, description="noted: a thought is given whole, or not at all")
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class ResponseStreamOptions(Strict):
    include_obfuscation: bool = Field(False, description="noted")


class ResponseBody(Strict):
    """The body of `/v1/responses`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "input": "Say hello."}]})

    model: str
    input: str | list[InputItem] | None = None
    previous_response_id: str | None = Field(None, description="an answer to the caller, which this input follows")
    instructions: str | None = Field(None, description="not carried over from an earlier answer")
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: Temperature = 1.0
    top_p: Probability = 1.0
    stream: bool = False
    stream_options: ResponseStreamOptions | None = None
    text: TextOptions | None = None
    tools: list[Tool] = Field(default_factory=list, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    store: bool = Field(True, description="false: the answer is recorded, and neither served again nor continued")
    truncation: Literal["auto", "disabled"] = Field("disabled", description="auto: the oldest turns may be dropped")
    reasoning: ReasoningOptions | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = Field(None, description="no effect: the model decides how many")
    include: list[str] | None = None
    max_tool_calls: int | None = None
    top_logprobs: int | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    client_metadata: dict[str, Any] | None = None
    context_management: list[dict[str, Any]] | None = None
    moderation: dict[str, Any] | None = None
    background_options: dict[str, Any] | None = None
    background: bool = Field(False, description="refused: true")
    conversation: Any = Field(None, description="refused")
    prompt: Any = Field(None, description="refused")

    def ensure_possible(self) -> None:
        """Raise BadRequest for an input that says nothing, Unsupported for what cannot be done."""
        for name, advice in REFUSED.items():
            if getattr(self, name):
                raise Unsupported(f"{name}: {advice}", field=name)
        if not self.input and not self.previous_response_id:
            raise BadRequest("input is required", field="input")

    @property
    def items(self) -> list[InputItem]:
        """Its own input as items."""
        if isinstance(self.input, str):
            return [InputItem(role="user", content=self.input)] if self.input else []
        return self.input or []

    @property
    def noted(self) -> tuple[str, ...]:
        """The fields that were sent and bind nobody."""
        inner = [("text", "verbosity"), ("reasoning", "summary")]
        given = [name for name in NOTED if getattr(self, name) is not None]
        given += [f"{part}.{name}" for part, name in inner if getattr(getattr(self, part), name, None) is not None]
        return (*given, *noted(self.tools))

    @property
    def format_field(self) -> str:
        """The field that says how the answer must parse."""
        return "text.format" if self._offering[1] in FREE_CHOICES else "tool_choice"

    @property
    def has_tools(self) -> bool:
        tools, choice = self._offering
        return bool(tools) and choice != "none"

    @property
    def grammar(self) -> str | None:
        """What the answer must parse as, by its own wish."""
        wanted = self.text.format if self.text else None
        return grammar_of(wanted.type, wanted.json_schema, "text.format.schema") if wanted else None

    @property
    def callable_tools(self) -> Offered:
        """The tools whose calls are read from the answer: none where it must keep to a format."""
        return offered(self._offering[0]) if self.has_tools and self.grammar is None else {}

    @property
    def custom_tools(self) -> frozenset[str]:
        """The names of those that take text."""
        return frozenset(tool.name for tool in self.tools if isinstance(tool, CustomTool))

    def generation(self, context: int, items: Sequence[InputItem] | None = None) -> GenerationRequest:
        """The request for the engine. `items` are the whole conversation (None: its own input is); `context` bounds an
        answer that has no limit of its own. Raises BadRequest where there is nothing to answer."""
        offering = offer(*self._offering, self.grammar)
        messages = turns(self.items if items is None else items)
        if not messages:
            raise BadRequest("input holds nothing to answer", field="input")
        effort = self.reasoning.effort if self.reasoning else None
        return GenerationRequest(
            messages=messages,
            system=self.instructions,
            tools=offering.tools,
            stream=self.stream,
            drops_turns=self.truncation == "auto",
            thinks=False if effort == "none" else None,
            thinking_effort=None if effort == "none" else effort,
            noted=self.noted,
            params=SamplingParams(
                max_tokens=min(self.max_output_tokens or context, context),
                temperature=self.temperature,
                top_k=0,
                top_p=self.top_p,
                grammar=offering.grammar,
            ),
        )

    @property
    def _offering(self) -> tuple[Sequence[dict[str, Any]], Any]:
        """The tools that the model is told of, and how it is to choose among them."""
        return narrowed(told(self.tools), self.tool_choice)
