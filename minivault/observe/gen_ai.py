"""What a trace tells of an answer: the names of OpenTelemetry's conventions for generative models, in one table.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/, as of `opentelemetry-semantic-conventions` 0.66. What
the conventions leave to an opt-in, the text of prompts and answers (stop sequences and schemas, too), is never told:
the record has it, and `gen_ai.response.id` is the record's id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from minivault.observe.ended import Ended

Value = str | bool | int | float | list[str]

PROVIDER = "minivault"
_OPERATIONS = {
    "generate": "text_completion",
    "stream-generate": "text_completion",
    "ollama.generate": "text_completion",
    "openai.completions": "text_completion",
}


def operation(ended: Ended) -> str:
    """`chat`, `text_completion` or `embeddings`; work that the conventions do not know keeps its route's name."""
    if ended.api in _OPERATIONS:
        return _OPERATIONS[ended.api]
    if "embed" in ended.api:
        return "embeddings"
    last = ended.api.rpartition(".")[2]
    return last if last in ("decisions", "systemone", "rerank") else "chat"


def _parameter(name: str) -> Callable[[Ended], Value | None]:
    return lambda ended: ended.parameters.get(name)


ATTRIBUTES: Mapping[str, Callable[[Ended], Value | None]] = {
    "gen_ai.operation.name": operation,
    "gen_ai.provider.name": lambda _: PROVIDER,
    "gen_ai.request.model": lambda ended: ended.model,
    "gen_ai.request.stream": lambda ended: ended.is_streamed,
    "gen_ai.request.max_tokens": _parameter("max_tokens"),
    "gen_ai.request.temperature": _parameter("temperature"),
    "gen_ai.request.top_k": _parameter("top_k"),
    "gen_ai.request.top_p": _parameter("top_p"),
    "gen_ai.request.presence_penalty": _parameter("presence_penalty"),
    "gen_ai.request.frequency_penalty": _parameter("frequency_penalty"),
    "gen_ai.request.seed": _parameter("seed"),
    "gen_ai.response.id": lambda ended: ended.id,
    "gen_ai.response.model": lambda ended: ended.model,
    "gen_ai.response.finish_reasons": lambda ended: [ended.finish_reason],
    "gen_ai.response.time_to_first_chunk": lambda ended: ended.timings.get("first_token_ns", 0) / 1e9 or None,
    "gen_ai.usage.input_tokens": lambda ended: ended.usage.prompt_tokens,
    "gen_ai.usage.output_tokens": lambda ended: ended.usage.completion_tokens,
    "gen_ai.usage.cache_read.input_tokens": lambda ended: ended.usage.cached_tokens,
    "error.type": lambda ended: ended.error_code or None,
    "minivault.api": lambda ended: ended.api,
    "minivault.status": lambda ended: ended.status,
    "minivault.key": lambda ended: ended.key,
}


def attributes_of(ended: Ended) -> dict[str, Value]:
    """What there is to tell of one answer."""
    told = ((name, value(ended)) for name, value in ATTRIBUTES.items())
    return {name: value for name, value in told if value is not None}
