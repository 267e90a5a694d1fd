"""From a request of ours to an engine's, in OpenAI's words and those of its kind.

A conversation goes to `/chat/completions`, where the engine's own template reads it; a raw prompt or tokens go to
`/completions`. All replies are asked for as streams, whoever reads them, so that each can be ended at any token. What
would change the answer and cannot be said to the engine is refused; a default of ours that it does not take is left
out, and the record says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from minivault.errors import BadRequest, Unsupported
from minivault.service.upstream.kinds import Kind
from minivault.types import PATTERN, GenerationRequest, Message, SamplingParams

CHAT, TEXT = "/chat/completions", "/completions"
DEFAULTS = SamplingParams()
NEUTRAL = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "ignore_eos": False,
    "min_tokens": 0,
    "stop_token_ids": (),
}
"""Parameters beyond OpenAI's, and the value of each that changes nothing."""


def asked(request: GenerationRequest, params: SamplingParams, kind: Kind, model: str, context: int) -> str:
    """What is sent, as the record keeps it: the path, a space, and the body. Raises BadRequest naming the field that
    this kind of engine cannot honour."""
    _ensure_possible(request, params, kind)
    is_chat = is_conversation(request)
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body |= dict(_sampling(params, kind)) | dict(kind.more)
    if params.max_tokens < context:  # else: as many as there is room for
        body["max_tokens"] = params.max_tokens
    if is_chat:
        body |= conversation(request, params, kind)
    else:
        body |= {"prompt": list(request.prompt_tokens) if request.prompt_tokens is not None else request.prompt}
    if params.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": params.logprobs} if is_chat else {"logprobs": params.logprobs}
    if params.grammar is not None and params.calls in (None, "auto"):
        _hold(body, params.grammar, kind)
    return f"{CHAT if is_chat else TEXT} {json.dumps(body)}"


def is_conversation(request: GenerationRequest) -> bool:
    """Whether an engine's own template reads the request."""
    return request.messages is not None or (request.prompt is not None and request.raw is not True)


def left_out(params: SamplingParams, kind: Kind) -> list[str]:
    """Defaults of ours that an engine of this kind is not told of."""
    return [
        name for name, nothing in NEUTRAL.items() if name not in kind.fields and getattr(params, name) not in (nothing,)
    ]


def _ensure_possible(request: GenerationRequest, params: SamplingParams, kind: Kind) -> None:
    for field, is_wanted, advice in _wishes(request, params, kind):
        if is_wanted:
            raise Unsupported(
                f"{field}: the engine that answers here ({kind.name}) cannot do that; {advice}", field=field
            )
    if params.seed is not None and params.seed > kind.max_seed:
        raise BadRequest(f"seed: the engine that answers here takes 0 to {kind.max_seed}", field="seed")


def _wishes(request: GenerationRequest, params: SamplingParams, kind: Kind) -> Iterator[tuple[str, bool, str]]:
    """Field, whether it asks for what this kind cannot do, and what to do instead."""
    out = "leave it out"
    for name, nothing in NEUTRAL.items():
        value = getattr(params, name)
        is_own = value not in (nothing, getattr(DEFAULTS, name))
        yield name, name not in kind.fields and is_own, out
    yield "context", bool(request.after), "send the conversation as messages"
    yield "prompt_logprobs", params.prompt_logprobs is not None, out
    yield "max_tokens", params.max_tokens == 0, "ask for at least 1"
    yield "logprobs", params.logprobs is not None and "logprobs" in kind.lacks, out
    yield "thinking_budget", request.thinking_budget is not None, "set max_tokens"
    yield "chat_template_kwargs", bool(request.template_options) and not kind.has_template_options, out
    is_scored = bool(params.presence_penalty or params.frequency_penalty)
    yield "presence_penalty", is_scored and "penalties" in kind.lacks, "set it to 0"
    is_pattern = params.grammar is not None and params.grammar.startswith(PATTERN)
    yield "format", is_pattern and "pattern" in kind.lacks, "use a JSON schema"
    is_held = params.grammar is not None and params.calls is None
    yield "format", is_held and "grammar" in kind.lacks, out
    yield "logit_bias", bool(params.logit_bias) and "logit bias" in kind.lacks, out
    yield "tool_choice", params.calls == "forced" and "forced calls" in kind.lacks, 'use "auto"'
    yield "prompt", request.prompt_tokens is not None and "token ids" in kind.lacks, "send text"


def _sampling(params: SamplingParams, kind: Kind) -> Iterator[tuple[str, Any]]:
    yield "seed", params.seed
    yield "temperature", params.temperature
    yield "top_p", params.top_p
    for name in ("presence_penalty", "frequency_penalty"):
        if value := getattr(params, name):
            yield name, value
    if params.stop:
        yield "stop", list(params.stop)
    if params.logit_bias:
        yield "logit_bias", {str(token): bias for token, bias in params.logit_bias}
    for ours, theirs in kind.fields.items():
        value = getattr(params, ours)
        if ours == "top_k":
            value = value or kind.every_token
        yield theirs, list(value) if isinstance(value, tuple) else value


def conversation(request: GenerationRequest, params: SamplingParams, kind: Kind) -> dict[str, Any]:
    """What says to an engine's template which conversation it is to read."""
    given = request.messages or (Message("user", request.prompt or ""),)
    system = [Message("system", request.system)] if request.system is not None else []
    told: dict[str, Any] = {"messages": [_message(message) for message in (*system, *given)]}
    if request.continues:
        told |= {"continue_final_message": True, "add_generation_prompt": False}
    options = dict(request.template_options)
    if request.thinks is not None and kind.has_template_options:
        options = {"enable_thinking": request.thinks, "thinking": request.thinks} | options
    if options:
        told["chat_template_kwargs"] = options
    if request.thinking_effort is not None:
        told["reasoning_effort"] = request.thinking_effort
    elif request.thinks is False and not kind.has_template_options and "grammar" not in kind.lacks:
        told["reasoning_effort"] = "none"
    return told | _tools(request, params)


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    for name in ("tool_call_id", "name", "reasoning_content"):
        if name in message.extra:
            told[name] = message.extra[name]
    if calls := message.extra.get("tool_calls"):
        told["tool_calls"] = [
            {
                "id": call.get("id") or f"call_{index}",
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"].get("arguments") or {}),
                },
            }
            for index, call in enumerate(calls)
        ]
    return told


def _tools(request: GenerationRequest, params: SamplingParams) -> dict[str, Any]:
    if not request.tools:
        return {}
    tools = list(request.tools)
    if params.calls != "forced" or params.grammar is None:
        return {"tools": tools}
    names = [call["properties"]["name"]["const"] for call in json.loads(params.grammar)["anyOf"]]
    if len(names) == 1:
        return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": names[0]}}}
    return {"tools": [tool for tool in tools if tool["function"]["name"] in names], "tool_choice": "required"}


def _hold(body: dict[str, Any], grammar: str, kind: Kind) -> None:
    """Ask for an answer that keeps to a format; whether it does is checked at its end, whoever answers."""
    if grammar.startswith(PATTERN):
        place = body
        for name in kind.pattern_field[:-1]:
            place = place.setdefault(name, {})
        place[kind.pattern_field[-1]] = grammar.removeprefix(PATTERN)
    elif grammar == "json":
        body["response_format"] = {"type": "json_object"}
    else:
        schema = {"name": "answer", "schema": json.loads(grammar), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
