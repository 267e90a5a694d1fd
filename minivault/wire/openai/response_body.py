"""The body of `POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from minivault.errors import BadRequest
from minivault.types import GenerationRequest
from minivault.wire.fields import OPENAI_RESPONSES, Foreign
from minivault.wire.openai.fields import Drawn, Limit, Strict, bounded, grammar_of
from minivault.wire.openai.response_items import InputItem, turns
from minivault.wire.openai.response_tools import CustomTool, Tool, noted, told
from minivault.wire.openai.thinking import ReasoningOptions, thinking
from minivault.wire.openai.tool_choice import FREE_CHOICES, may_call, narrowed, offer
from minivault.wire.tool_calls import Offered, offered


class TextFormat(Strict):
    """How the answer must parse."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class TextOptions(Strict):
    format: TextFormat | None = None


class Members(Strict):
    """An object of which nothing is honoured."""


class ResponseBody(Drawn):
    """The body of `/v1/responses`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "input": "Say hello."}]})

    foreign: ClassVar[Foreign] = OPENAI_RESPONSES

    model: str
    input: str | list[InputItem] | None = None
    previous_response_id: str | None = Field(None, description="an answer to the caller, which this input follows")
    instructions: str | None = Field(None, description="not carried over from an earlier answer")
    max_output_tokens: Limit | None = Field(None, description="absent or -1 = what the context leaves")
    stream: bool = False
    stream_options: Members | None = None
    chat_template_kwargs: dict[str, Any] = Field({}, description="variables of the model's chat template")
    text: TextOptions | None = None
    tools: list[Tool] = Field(default_factory=list, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    store: bool = Field(True, description="false: the answer is recorded, and neither served again nor continued")
    truncation: Literal["auto", "disabled"] = Field(
        "disabled", description="`auto`: leave out the oldest turns that do not fit, instead of refusing"
    )
    reasoning: ReasoningOptions | None = None
    parallel_tool_calls: bool | None = Field(None, description="no effect: the model decides how many")
    metadata: dict[str, Any] | None = Field(None, description="given back in the reply")
    max_tool_calls: int | None = Field(None, description="given back in the reply")
    prompt_cache_key: str | None = Field(None, description="given back in the reply")
    safety_identifier: str | None = Field(None, description="given back in the reply")
    user: str | None = Field(None, description="given back in the reply")

    def ensure_possible(self) -> None:
        """Raise BadRequest for an input that says nothing."""
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
        """The fields that bind nobody, and the tools that no model is told of."""
        return (*super().noted, *noted(self.tools))

    @property
    def format_field(self) -> str:
        """The field that says how the answer must parse."""
        if self._offering[1] not in FREE_CHOICES:
            return "tool_choice"
        return "text.format" if self.grammar is not None else "tools"

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
        tools, choice = self._offering
        return offered(tools) if may_call(choice, self.grammar) else {}

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
        return GenerationRequest(
            messages=messages,
            system=self.instructions,
            template_options=tuple(self.chat_template_kwargs.items()),
            drops_turns=self.truncation == "auto",
            tools=offering.tools,
            stream=self.stream,
            **thinking(None, self.reasoning),
            params=replace(
                self.sampling(0, bounded(self.max_output_tokens, context), None, offering.grammar),
                calls=offering.calls,
            ),
        )

    @property
    def _offering(self) -> tuple[Sequence[dict[str, Any]], Any]:
        """The tools that the model is told of, and how it is to choose among them."""
        return narrowed(told(self.tools), self.tool_choice)
