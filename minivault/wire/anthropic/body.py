"""The bodies of `POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, JsonValue

from minivault.errors import BadRequest
from minivault.types import GenerationRequest, SamplingParams
from minivault.wire.anthropic.blocks import TextBlock, Turn, conversation, referenced
from minivault.wire.anthropic.fields import Open
from minivault.wire.anthropic.tools import Tool, ToolChoice, left_out, told_tools
from minivault.wire.fields import ANTHROPIC, Foreign
from minivault.wire.openai.tool_choice import FREE_CHOICES, may_call, offer
from minivault.wire.tool_calls import Offered, offered

MAX_TOOLS = 512
MAX_STOPS = 16
MAX_STOP_CHARS = 256
SEED_SPACE = 2**63
THINKS = {"enabled": True, "disabled": False}
"""The others leave it to the model."""
EFFORTS = {"xhigh": "high", "max": "high"}
"""Templates know three words."""

ASKED: dict[str, JsonValue] = {
    "model": "smollm2-135m",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
}
TOOL: JsonValue = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


class Thinking(Open):
    """Whether the model thinks first. Where it cannot, nothing happens."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = Field(None, ge=1, description="most tokens of thought")
    display: Literal["summarized", "omitted"] | None = Field(None, description="`omitted`: thoughts are not shown")


class OutputFormat(Open):
    """What the answer must parse as."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class OutputConfig(Open):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountBody(Open):
    """All that makes the prompt."""

    model_config = ConfigDict(json_schema_extra={"examples": [ASKED]})

    foreign: ClassVar[Foreign] = ANTHROPIC

    model: str
    messages: list[Turn] = Field(min_length=1, description="an assistant's last one is the answer's beginning")
    system: str | list[TextBlock] | None = None
    tools: list[Tool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = Field(None, description="absent = disabled, where the model leaves a choice")
    output_config: OutputConfig = Field(default_factory=OutputConfig)
    output_format: OutputFormat | None = Field(None, description="the older place of `output_config.format`")

    @property
    def noted(self) -> tuple[str, ...]:
        """The fields that bind nobody, and the tools that no model is told of."""
        return (*super().noted, *left_out(self.tools))

    @property
    def grammar(self) -> str | None:
        """What the answer must parse as, by its own wish."""
        wanted = self.output_config.format or self.output_format
        return json.dumps(wanted.json_schema) if wanted else None

    @property
    def told(self) -> list[dict[str, Any]]:
        """The tools that the model is told of."""
        is_refused = self.tool_choice is not None and self.tool_choice.type == "none"
        return [] if is_refused else told_tools(self.tools, referenced(self.messages))

    @property
    def callable_tools(self) -> Offered:
        """The tools whose calls are read from the answer: none where it must keep to a format."""
        return offered(self.told) if may_call(self._choice, self.grammar) else {}

    @property
    def format_field(self) -> str:
        """The field that says how the answer must parse."""
        is_own = self.grammar is not None and self._choice in FREE_CHOICES
        return "output_config.format.schema" if is_own else "tool_choice"

    @property
    def _choice(self) -> Any:
        return self.tool_choice.as_openai if self.tool_choice else None

    def prompting(self) -> GenerationRequest:
        """The request for the engine, as far as the prompt goes. Raises BadRequest for calls without results."""
        messages = conversation(self.system, self.messages)
        if messages[-1].role == "assistant" and "tool_calls" in messages[-1].extra:
            told = "messages: the last one calls tools: send their results, as tool_result blocks of a user's message"
            raise BadRequest(told, field="messages")
        kind = self.thinking.type if self.thinking else "disabled"
        effort = None if kind == "disabled" else self.output_config.effort
        return GenerationRequest(
            messages=messages,
            continues=messages[-1].role == "assistant",
            tools=tuple(self.told),
            thinks=THINKS.get(kind),
            thinking_effort=effort and EFFORTS.get(effort, effort),
            thinking_budget=self.thinking.budget_tokens if self.thinking else None,
        )


class MessagesBody(CountBody):
    """The body of `/v1/messages`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                ASKED | {"max_tokens": 64},
                ASKED | {"max_tokens": 64, "system": "Be brief.", "stop_sequences": ["\n\n"], "stream": True},
            ]
        }
    )

    max_tokens: int = Field(ge=1)
    stream: bool = False
    temperature: float = Field(1.0, ge=0, le=1)
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: int = Field(0, ge=0, description="0 = all")
    seed: int | None = Field(None, ge=-SEED_SPACE, lt=SEED_SPACE, description="not Anthropic's: repeats an answer")
    stop_sequences: list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]] = Field(
        default_factory=list, max_length=MAX_STOPS
    )

    @property
    def gives_one_call(self) -> bool:
        return self.tool_choice is not None and self.tool_choice.disable_parallel_tool_use

    @property
    def omits_thoughts(self) -> bool:
        return self.thinking is not None and self.thinking.display == "omitted"

    def generation(self, context: int) -> GenerationRequest:
        """The request for the engine; no answer is longer than `context`. Raises BadRequest for a choice of no tool."""
        offering = offer(self.told, self._choice, self.grammar)
        params = SamplingParams(
            max_tokens=min(self.max_tokens, context),
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=None if self.seed is None else self.seed % SEED_SPACE,
            stop=tuple(self.stop_sequences),
            grammar=offering.grammar,
            calls=offering.calls,
            unsaid=self.unsaid(),
        )
        return replace(self.prompting(), stream=self.stream, params=params)
