"""Replies of `/api/generate` and `/api/chat`, whole and streamed, and the embeddings replies.

One object serves one request: it holds the name the client used and stamps every line with the given clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minivault.errors import MiniVaultError, Overloaded, Unauthorized
from minivault.types import Delta, Event, Failed, Finished, FinishReason, TokenLogprob, rfc3339
from minivault.wire.answer import Answer
from minivault.wire.logprobs import TokenBytes, encode_logprobs, spoken
from minivault.wire.tool_calls import ToolCall, ToolCallReader, read_tool_calls

Clock = Callable[[], int]
"""Wall-clock nanoseconds since 1970."""

BUSY = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's own words, two spaces included: clients look for them."""


def encode_error(error: Exception) -> dict[str, Any]:
    """The body of every error, and the last line of a stream that broke: the value is always a string."""
    if isinstance(error, Overloaded | Unauthorized):
        return {"error": BUSY if isinstance(error, Overloaded) else "unauthorized"}
    return {"error": error.message if isinstance(error, MiniVaultError) else "internal error"}


def done_reason(reason: FinishReason) -> str:
    """Ollama knows two ends of an answer: it stopped by itself, or it was cut."""
    return "stop" if reason == "stop" else "length"


def timing_fields(finished: Finished) -> dict[str, int]:
    """Durations in nanoseconds and token counts. At least 1: clients divide by them and read a missing one as None."""
    usage, timings = finished.usage, finished.timings
    evaluated = timings.total_ns - timings.queued_ns - timings.prefill_ns
    return {
        "total_duration": max(timings.total_ns, 1),
        "load_duration": max(timings.queued_ns, 1),
        "prompt_eval_count": max(usage.prompt_tokens, 1),
        "prompt_eval_duration": max(timings.prefill_ns, 1),
        "eval_count": usage.completion_tokens,
        "eval_duration": max(evaluated, 1),
    }


class GenerateReply:
    """`/api/generate`: text in `response`. `prompt_tokens` open the final `context`; None leaves it out."""

    def __init__(
        self, model: str, clock: Clock, token_bytes: TokenBytes, prompt_tokens: Sequence[int] | None = None
    ) -> None:
        self._model, self._clock, self._token_bytes = model, clock, token_bytes
        self._context = None if prompt_tokens is None else list(prompt_tokens)

    def encode(self, event: Event) -> list[dict[str, Any]]:
        """The stream's lines for one event, in order; none where nothing is to be said yet."""
        if isinstance(event, Delta):
            if self._context is not None:
                self._context += event.token_ids
            logprobs = spoken(event.logprobs, self._token_bytes)
            lines = [self._line(event.text, logprobs)] if event.text or logprobs else []
        elif isinstance(event, Finished):
            lines = [self._last("", event, ())]
        else:
            lines = [encode_error(event.error)] if isinstance(event, Failed) else []
        return lines

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The one object of a reply that is not streamed."""
        if self._context is not None:
            self._context += answer.token_ids
        return self._last(answer.text, answer.finished, spoken(answer.logprobs, self._token_bytes))

    def loaded(self, *, is_unload: bool) -> dict[str, Any]:
        """The reply to an empty prompt."""
        return self._line("", ()) | {"done": True, "done_reason": "unload" if is_unload else "load"}

    def _line(self, text: str, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        line: dict[str, Any] = {
            "model": self._model,
            "created_at": rfc3339(self._clock()),
            "response": text,
            "done": False,
        }
        return line | ({"logprobs": encode_logprobs(logprobs, self._token_bytes)} if logprobs else {})

    def _last(self, text: str, finished: Finished, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        last = self._line(text, logprobs) | {"done": True, "done_reason": done_reason(finished.reason)}
        return last | ({"context": self._context} if self._context else {}) | timing_fields(finished)


class ChatReply:
    """`/api/chat`: text in `message`, and tool calls with their arguments as objects when tools were offered."""

    def __init__(self, model: str, clock: Clock, token_bytes: TokenBytes, *, has_tools: bool = False) -> None:
        self._model, self._clock, self._token_bytes = model, clock, token_bytes
        self._tools = ToolCallReader() if has_tools else None

    def encode(self, event: Event) -> list[dict[str, Any]]:
        """The stream's lines for one event, in order; none where nothing is to be said yet."""
        if isinstance(event, Delta):
            text, calls = self._tools.feed(event.text) if self._tools else (event.text, [])
            return self._lines(text, calls, spoken(event.logprobs, self._token_bytes))
        if isinstance(event, Finished):
            text, calls = self._tools.finish() if self._tools else ("", [])
            return [*self._lines(text, calls, ()), self._last("", [], event, ())]
        return [encode_error(event.error)] if isinstance(event, Failed) else []

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The one object of a reply that is not streamed."""
        text, calls = read_tool_calls(answer.text) if self._tools else (answer.text, [])
        return self._last(text, calls, answer.finished, spoken(answer.logprobs, self._token_bytes))

    def loaded(self, *, is_unload: bool) -> dict[str, Any]:
        """The reply to an empty conversation."""
        return self._line("", [], ()) | {"done": True, "done_reason": "unload" if is_unload else "load"}

    def _lines(self, text: str, calls: Sequence[ToolCall], logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        lines = [self._line(text, [], logprobs)] if text or logprobs else []
        return lines + ([self._line("", calls, ())] if calls else [])

    def _line(self, text: str, calls: Sequence[ToolCall], logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {"function": {"index": index, "name": call.name, "arguments": call.arguments}}
                for index, call in enumerate(calls)
            ]
        line = {"model": self._model, "created_at": rfc3339(self._clock()), "message": message, "done": False}
        return line | ({"logprobs": encode_logprobs(logprobs, self._token_bytes)} if logprobs else {})

    def _last(
        self, text: str, calls: Sequence[ToolCall], finished: Finished, logprobs: Sequence[TokenLogprob]
    ) -> dict[str, Any]:
        last = self._line(text, calls, logprobs) | {"done": True, "done_reason": done_reason(finished.reason)}
        return last | timing_fields(finished)


def encode_embeddings(model: str, vectors: Sequence[Sequence[float]], num_tokens: int, total_ns: int) -> dict[str, Any]:
    """The reply of `/api/embed`; `num_tokens` counts all inputs."""
    return {
        "model": model,
        "embeddings": [list(vector) for vector in vectors],
        "total_duration": max(total_ns, 1),
        "load_duration": 1,
        "prompt_eval_count": num_tokens,
    }
