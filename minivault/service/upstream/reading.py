"""From an engine's stream to our events: text, thoughts, calls, log-probabilities, usage and why it ended.

Calls that the engine has read from its model's text come as objects; they are written back as text in one known format
(`hermes`), so that every dialect and every record reads them like a local model's. What was asked for and did not come
is noted in `told`, which the record keeps.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from minivault.errors import GenerationFailed
from minivault.talk.thoughts import thought_format
from minivault.types import Delta, FinishReason, SamplingParams, TokenLogprob, TopLogprob, Usage

THOUGHTS = "think"
"""How thoughts are told from the text of an engine that has left them in it."""
REASONS: Mapping[str, FinishReason] = {"length": "length", "abort": "error", "error": "error"}
"""Every other word for an end is one that the model came to by itself."""
TOLD = ("id", "model", "system_fingerprint", "service_tier")
LEAST = -9999.0
MOST = 1 << 53
"""Beyond it, a count or an id is nonsense."""
MISSHAPEN = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)
"""What reading raises where there is a number for a text, a text for an object, and the like."""
log = logging.getLogger("minivault.service")


class AnswerReader:
    """Reads one answer, object by object."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._calls: list[dict[str, str]] = []
        self._num_pieces = 0
        self._usage: Usage | None = None
        self._has_logprobs = False
        form = thought_format(THOUGHTS)
        assert form is not None
        self._thought = form.reader("possible")
        self._splits = True
        self._has_text = False
        self.reason: FinishReason | None = None
        self.stop: str | None = None
        self.told: dict[str, Any] = {}
        """What the engine said of this answer."""

    def feed(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """What one object of the stream adds. Raises GenerationFailed where it tells of a failure, or nothing that can
        be read."""
        try:
            return self._fed(chunk)
        except MISSHAPEN as error:
            log.warning("an engine elsewhere sent what is no answer: %r", error)
            raise GenerationFailed("the engine elsewhere sent an object that is no answer") from error

    def _fed(self, chunk: Mapping[str, Any]) -> list[Delta]:
        if error := chunk.get("error"):
            raise GenerationFailed(f"the engine elsewhere failed: {message_of(error)}")
        if not self.told:
            self.told |= {name: chunk[name] for name in TOLD if isinstance(chunk.get(name), str) and chunk[name]}
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = _usage(usage)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return []
        read = [self._read(choice) for choice in choices if isinstance(choice, dict)]
        return [delta for delta in read if delta is not None]

    def finish(self) -> Iterator[Delta]:
        """What was held back: the calls, and text that might have become a thought."""
        rest = self._thought.finish() if self._splits else ""
        thought = self._thought.take()
        if rest or thought:
            yield Delta(rest, reasoning=thought)
        if self._calls:
            yield Delta("\n".join(map(_written, self._calls)))

    @property
    def usage(self) -> Usage:
        """As the engine counted; where it did not, by the pieces that came."""
        return self._usage or Usage(0, self._num_pieces)

    @property
    def dropped(self) -> list[str]:
        """What was asked for and did not come."""
        has_answer = self._num_pieces > 0
        missing = {
            "usage": self._usage is None,
            "logprobs": self._params.logprobs is not None and has_answer and not self._has_logprobs,
            "tool_choice": self._params.calls == "forced" and has_answer and not self._calls,
        }
        return [name for name, is_missing in missing.items() if is_missing]

    def _read(self, choice: Mapping[str, Any]) -> Delta | None:
        said = choice.get("delta") or choice.get("message")
        if said:
            text = _text(said.get("content"))
            reasoning = _text(said.get("reasoning_content") or said.get("reasoning"))
            for call in said.get("tool_calls") or ():
                self._hear(call)
        else:
            text, reasoning = _text(choice.get("text")), ""
        scored, ids = choice.get("logprobs"), choice.get("token_ids")
        logprobs = tuple(_logprobs(scored)) if scored and isinstance(scored, dict) else ()
        tokens = tuple(filter(_is_count, ids)) if ids and isinstance(ids, list) else ()
        self._has_logprobs = self._has_logprobs or bool(logprobs)
        if reason := _text(choice.get("finish_reason")):
            self.reason = REASONS.get(reason, "stop")
        if stop := _text(choice.get("stop_reason")):
            self.stop = stop
        if not (text or reasoning or logprobs or tokens):
            return None
        self._num_pieces += 1
        return self._told_apart(text, reasoning, tokens, logprobs)

    def _told_apart(
        self, text: str, reasoning: str, tokens: tuple[int, ...], logprobs: tuple[TokenLogprob, ...]
    ) -> Delta:
        """With thoughts that were left in the text taken out of it; an engine that tells them itself is believed."""
        if reasoning and not self._has_text:
            self._splits = False
        self._has_text = self._has_text or bool(text)
        if self._splits and text:
            text = self._thought.feed(text)
            reasoning += self._thought.take()
        return Delta(text, tokens, logprobs, reasoning)

    def _hear(self, call: Any) -> None:
        """A call, or the next piece of one."""
        if not isinstance(call, dict):
            return
        index = call.get("index")
        index = index if isinstance(index, int) and 0 <= index <= len(self._calls) else len(self._calls)
        if index == len(self._calls):
            self._calls.append({"name": "", "arguments": ""})
            self._num_pieces += 1
        function = call.get("function") or {}
        self._calls[index]["name"] += _text(function.get("name"))
        arguments = function.get("arguments")
        self._calls[index]["arguments"] += json.dumps(arguments) if isinstance(arguments, dict) else _text(arguments)


def message_of(error: Any) -> str:
    """What an engine says of an error, in whichever shape; cut to a line."""
    while isinstance(error, dict):
        error = next(
            (error[name] for name in ("error", "message", "detail", "msg") if error.get(name)), "no reason given"
        )
    if isinstance(error, list):
        return message_of(error[0]) if error else "no reason given"
    return " ".join(str(error).split())[:500]


def _text(value: Any) -> str:
    """A text; half a surrogate pair, which no record can hold, as a question mark."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _written(call: Mapping[str, str]) -> str:
    """A call as text in the format `hermes`."""
    arguments = call["arguments"].strip() or "{}"
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        arguments = json.dumps(arguments)
    return f'<tool_call>\n{{"name": {json.dumps(call["name"])}, "arguments": {arguments}}}\n</tool_call>'


def _usage(told: Mapping[str, Any]) -> Usage:
    prompt, completion = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    return Usage(
        _count(told, "prompt_tokens"),
        _count(told, "completion_tokens"),
        _count(prompt, "cached_tokens"),
        _count(completion, "reasoning_tokens"),
    )


def _count(told: Any, name: str) -> int:
    value = told.get(name) if isinstance(told, dict) else None
    return value if _is_count(value) else 0


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < MOST


def _logprobs(scored: Mapping[str, Any]) -> Iterator[TokenLogprob]:
    """In either layout: `content` of chat completions, or the lists of completions. The ids of tokens are not told."""
    content = scored.get("content")
    if isinstance(content, list):
        for item in content:
            if isinstance(item, dict):
                top = item.get("top_logprobs")
                others = tuple(_scored(one) for one in top if isinstance(one, dict)) if isinstance(top, list) else ()
                one = _scored(item)
                yield TokenLogprob(one.token_id, one.logprob, one.data, others)
        return
    tokens, values, tops = (scored.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs"))
    for index, (token, value) in enumerate(zip(tokens, values, strict=False)):
        top = tops[index] if index < len(tops) and isinstance(tops[index], dict) else {}
        others = tuple(TopLogprob(-1, _number(number), str(text).encode()) for text, number in top.items())
        yield TokenLogprob(-1, _number(value), str(token).encode(), others)


def _scored(item: Mapping[str, Any]) -> TopLogprob:
    data, token = item.get("bytes"), item.get("id")
    try:
        told = bytes(data) if isinstance(data, list) else _text(item.get("token")).encode()
    except (TypeError, ValueError):
        told = b""
    return TopLogprob(token if _is_count(token) else -1, _number(item.get("logprob")), told)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else LEAST
