"""`POST /v1/chat/completions`: requests, whole replies and chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, JsonValue

from minivault.errors import BadRequest, Unsupported
from minivault.talk.calls import HERMES
from minivault.types import Delta, Event, Failed, Finished, GenerationRequest, TokenLogprob, Usage
from minivault.wire.fields import OPENAI_CHAT, Foreign
from minivault.wire.logprobs import NumAlternatives, encode_logprobs, encode_prompt_logprobs, spoken
from minivault.wire.openai.envelope import Envelope, encode_error, encode_usage, finish_reason
from minivault.wire.openai.fields import Limit, Sampled, bounded
from minivault.wire.openai.messages import ChatMessage, ToolBody, encode_tool_call
from minivault.wire.openai.thinking import Budget, Effort, ReasoningOptions, ThinkingOptions, thinking
from minivault.wire.openai.tool_choice import FREE_CHOICES, may_call, offer
from minivault.wire.reply import Answer
from minivault.wire.tool_calls import Offered, ToolCall, ToolCallReader, offered, read_tool_calls, with_tool_names

PREFIX = "chatcmpl"
EXAMPLES: list[JsonValue] = [
    {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Why is the sky blue?"}], "seed": 7},
    {
        "model": "smollm2-135m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "max_completion_tokens": 64,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
]


class ChatBody(Sampled):
    """The body of `/v1/chat/completions`."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    foreign: ClassVar[Foreign] = OPENAI_CHAT

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Limit | None = Field(None, description="absent or -1 = what the context leaves")
    max_tokens: Limit | None = Field(None, description="the older name of `max_completion_tokens`")
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    continue_final_message: bool = Field(False, description="go on with the last message, which is the assistant's")
    add_generation_prompt: bool | None = Field(None, description="false goes with `continue_final_message`")
    chat_template_kwargs: dict[str, Any] = Field({}, description="variables of the model's chat template")
    prompt_logprobs: NumAlternatives | None = Field(None, description="scores of the prompt as vLLM lists them")
    tools: list[ToolBody] = Field(default_factory=list, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    reasoning_effort: Effort | None = Field(None, description="no effect on models that do not think")
    reasoning: ReasoningOptions | None = None
    thinking: ThinkingOptions | None = None
    thinking_budget: Budget | None = Field(None, description="most tokens of thought")

    @property
    def format_field(self) -> str:
        """The field that says how the answer must parse."""
        if self.tool_choice not in FREE_CHOICES:
            return "tool_choice"
        return super().format_field if self.grammar is not None else "tools"

    @property
    def has_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def callable_tools(self) -> Offered:
        """The tools whose calls are read from the answer: none where it must keep to a format."""
        return offered(map(ToolBody.model_dump, self.tools)) if may_call(self.tool_choice, self.grammar) else {}

    def ensure_possible(self) -> None:
        """Refuse what contradicts itself. Raises BadRequest naming the field."""
        if self.top_logprobs is not None and not self.logprobs:
            raise BadRequest("top_logprobs needs logprobs: true", field="top_logprobs")
        last = self.messages[-1]
        is_begun = last.role == "assistant" and not last.tool_calls
        if self.continue_final_message and (self.add_generation_prompt or not is_begun):
            message = "continue_final_message needs a last message of the assistant's text, and no generation prompt"
            raise BadRequest(message, field="continue_final_message")
        if self.add_generation_prompt is False and not self.continue_final_message:
            message = "add_generation_prompt: false needs continue_final_message: true"
            raise Unsupported(message, field="add_generation_prompt")

    def generations(self, context: int) -> list[GenerationRequest]:
        """One request a choice; `context` bounds an answer that has no limit of its own."""
        limit = bounded(self.max_completion_tokens or self.max_tokens, context)
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        told = offer([tool.model_dump(exclude_none=True) for tool in self.tools], self.tool_choice, self.grammar)
        messages = with_tool_names([message.message() for message in self.messages])
        return [
            GenerationRequest(
                messages=messages,
                continues=self.continue_final_message,
                template_options=tuple(self.chat_template_kwargs.items()),
                tools=told.tools,
                stream=self.stream,
                **thinking(self.reasoning_effort, self.reasoning, self.thinking, self.thinking_budget),
                params=replace(
                    self.sampling(choice, limit, logprobs, told.grammar),
                    prompt_logprobs=self.prompt_logprobs,
                    calls=told.calls,
                ),
            )
            for choice in range(self.n)
        ]


class ChatReply:
    """Encodes one request's choices, whole or as chunks."""

    def __init__(self, envelope: Envelope, body: ChatBody, call_format: str = HERMES) -> None:
        self._id = envelope.id
        self._head = envelope.head("chat.completion", PREFIX)
        self._has_usage = body.has_usage_chunk
        self._chunk_head = envelope.head("chat.completion.chunk", PREFIX) | ({"usage": None} if self._has_usage else {})
        self._tools = body.callable_tools
        self._call_format = call_format
        self._readers = [ToolCallReader(self._tools, call_format) for _ in range(body.n)] if self._tools else []
        self._num_calls = [0] * body.n
        self._usages: list[Usage] = []
        self._num_listed = body.prompt_logprobs

    def encode(self, index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            text, calls = self._readers[index].feed(event.text) if self._readers else (event.text, [])
            logprobs = event.logprobs and spoken(event.logprobs)
            said = {"content": text} if text or not event.reasoning else {}
            if event.reasoning:
                said["reasoning_content"] = event.reasoning
            chunks = [self._chunk(index, said, logprobs)] if text or logprobs or event.reasoning else []
            return chunks + self._call_chunks(index, calls) if calls else chunks
        if isinstance(event, Finished):
            text, calls = self._readers[index].finish() if self._readers else ("", [])
            self._usages.append(event.usage)
            chunks = [self._chunk(index, {"content": text})] if text else []
            chunks += self._call_chunks(index, calls)
            return [*chunks, self._chunk(index, {}, (), _reason(event, self._num_calls[index]))]
        if isinstance(event, Failed):
            return [encode_error(event.error)]
        return [self._chunk(index, {"role": "assistant", "content": ""}) | self._listed(event.prompt_logprobs)]

    def end(self) -> list[dict[str, Any]]:
        return [self._chunk_head | {"choices": [], "usage": encode_usage(self._usages)}] if self._has_usage else []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        usage = encode_usage([answer.finished.usage for answer in answers])
        return self._head | {"choices": choices, "usage": usage} | self._listed(answers[0].prompt_logprobs)

    def _listed(self, scored: Sequence[TokenLogprob] | None) -> dict[str, Any]:
        """The prompt's scores beside the choices, which share it."""
        if scored is None or self._num_listed is None:
            return {}
        return {"prompt_logprobs": encode_prompt_logprobs(scored, self._num_listed)}

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        text, calls = read_tool_calls(answer.text, self._tools, self._call_format)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if calls:
            message["tool_calls"] = self._encode_calls(index, calls)
        return {
            "index": index,
            "message": message,
            "logprobs": _encode_logprobs(spoken(answer.logprobs)),
            "finish_reason": _reason(answer.finished, len(calls)),
        }

    def _call_chunks(self, index: int, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        first = self._num_calls[index]
        return [
            self._chunk(index, {"tool_calls": [{"index": number} | call]})
            for number, call in enumerate(self._encode_calls(index, calls), start=first)
        ]

    def _encode_calls(self, index: int, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        """Calls with ids that are unique within the reply."""
        first = self._num_calls[index]
        self._num_calls[index] += len(calls)
        return [
            encode_tool_call(call, f"call_{self._id}_{index}_{number}")
            for number, call in enumerate(calls, start=first)
        ]

    def _chunk(
        self, index: int, delta: dict[str, Any], logprobs: Sequence[TokenLogprob] = (), reason: str | None = None
    ) -> dict[str, Any]:
        scored = _encode_logprobs(logprobs) if logprobs else None
        choice = {"index": index, "delta": delta, "logprobs": scored, "finish_reason": reason}
        return self._chunk_head | {"choices": [choice]}


def _encode_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    return {"content": encode_logprobs(logprobs), "refusal": None} if logprobs else None


def _reason(finished: Finished, num_calls: int) -> str:
    return "tool_calls" if num_calls and finished.reason == "stop" else finish_reason(finished.reason)
