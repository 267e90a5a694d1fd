"""Other people's servers, as far as a benchmark needs them: one streamed chat in each of their dialects.

Each reads as the native dialect's lines (`token`, `usage`), so that one load measures all servers in the same way. What
is sent is the native request, translated; sampling fields that a dialect has no name for are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from minivault.cli.client.address import Address
from minivault.cli.client.client import ONE_REQUEST_EACH, connecting, timeouts
from minivault.cli.client.replies import LineParser, parse_object
from minivault.errors import ServerError

Body = dict[str, Any]


class Parser(Protocol):
    """Bytes of a stream, in pieces of any size, into lines with `token` or `usage`. `close` raises where it was cut."""

    def feed(self, data: bytes) -> Iterator[Body]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Speech:
    """How a kind of server is spoken to: where, with what, how its stream is read and where it lists its models."""

    path: str
    encode: Callable[[Body, str], Body]
    parser: Callable[[], Parser]
    models_path: str = ""


class EventLines:
    """Server-sent events of `/v1/chat/completions`; whole once a `finish_reason` or `[DONE]` has come."""

    def __init__(self) -> None:
        self._held = b""
        self._is_done = False

    def feed(self, data: bytes) -> Iterator[Body]:
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            payload = line.strip().removeprefix(b"data:").strip()
            if not line.startswith(b"data:"):
                continue
            if payload == b"[DONE]":
                self._is_done = True
            else:
                yield from self._read(parse_object(payload))

    def close(self) -> None:
        if not self._is_done:
            raise ServerError("the answer was cut: the stream ended without finish_reason and [DONE]")

    def _read(self, event: Body) -> Iterator[Body]:
        _ensure_no_error(event)
        for choice in event.get("choices") or ():
            self._is_done = self._is_done or bool(choice.get("finish_reason"))
            delta = choice.get("delta") or {}
            if text := delta.get("content") or delta.get("reasoning_content"):
                yield {"token": text}
        if usage := event.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            yield {"usage": {**usage, "cached_tokens": details.get("cached_tokens") or 0}}
        elif timings := event.get("timings"):  # llama-server's own
            counts = {"prompt_tokens": timings.get("prompt_n", 0), "completion_tokens": timings.get("predicted_n", 0)}
            yield {"usage": {**counts, "cached_tokens": timings.get("cache_n", 0)}}


class OllamaLines:
    """NDJSON of `/api/chat`; whole once a line with `done` has come."""

    def __init__(self) -> None:
        self._held = b""
        self._is_done = False

    def feed(self, data: bytes) -> Iterator[Body]:
        *lines, self._held = (self._held + data).split(b"\n")
        for line in filter(None, lines):
            value = parse_object(line)
            _ensure_no_error(value)
            message = value.get("message") or {}
            if text := message.get("content") or message.get("thinking"):
                yield {"token": text}
            if value.get("done"):
                self._is_done = True
                counts = {"prompt_tokens": value.get("prompt_eval_count", 0)}
                yield {"usage": {**counts, "completion_tokens": value.get("eval_count", 0)}}

    def close(self) -> None:
        if not self._is_done:
            raise ServerError("the answer was cut: the stream ended without `done`")


def _native(body: Body, _model: str) -> Body:
    return {**body, "stream": True}


def _openai(body: Body, model: str) -> Body:
    rest = {name: value for name, value in body.items() if name not in ("prompt", "system", "raw", "model")}
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": model, "messages": _messages(body), **rest, **usage}


_OLLAMA_NAMES = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}


def _ollama(body: Body, model: str) -> Body:
    options = {
        _OLLAMA_NAMES.get(name, name): value
        for name, value in body.items()
        if name not in ("prompt", "system", "raw", "model")
    }
    return {"model": model, "messages": _messages(body), "options": options, "stream": True}


def _messages(body: Body) -> list[dict[str, str]]:
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    return [*system, {"role": "user", "content": body["prompt"]}]


NATIVE = Speech("/generate", _native, LineParser)
DIALECTS: Mapping[str, Speech] = {
    "openai": Speech("/v1/chat/completions", _openai, EventLines, "/v1/models"),
    "ollama": Speech("/api/chat", _ollama, OllamaLines, "/api/tags"),
    "llama": Speech("/v1/chat/completions", _openai, EventLines, "/v1/models"),
}


def first_model(speech: Speech, address: Address, headers: Mapping[str, str]) -> str:
    """The first model that a server lists. Raises Unreachable, ServerError."""
    transport = httpx.HTTPTransport(uds=address.socket, limits=ONE_REQUEST_EACH)
    with httpx.Client(base_url=address.base_url, transport=transport, timeout=timeouts(30)) as http:
        with connecting(address):
            response = http.get(speech.models_path, headers=dict(headers))
        listed = parse_object(response.content)
    for one in listed.get("data") or listed.get("models") or ():
        return str(one.get("id") or one.get("name"))
    raise ServerError(f"{address}{speech.models_path} lists no model (status {response.status_code}): name one")


def _ensure_no_error(value: Body) -> None:
    if error := value.get("error"):
        message = error.get("message") if isinstance(error, dict) else error
        raise ServerError(f"the server broke off: {json.dumps(message)[:200]}")
