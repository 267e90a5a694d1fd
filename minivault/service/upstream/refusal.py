"""What the refusal of an engine elsewhere means: the request's own fault, or the server's alone."""

from __future__ import annotations

import contextlib
import json
from http.client import HTTPResponse
from typing import Any

from minivault.errors import (
    BadRequest,
    ContextExceeded,
    GenerationFailed,
    MiniVaultError,
    ModelNotFound,
    Overloaded,
    UpstreamUnavailable,
)
from minivault.service.upstream.connection import FAILURES
from minivault.service.upstream.reading import message_of
from minivault.service.upstream.server import Server

TOO_LONG = ("context length", "context size", "context_length", "exceed_context", "context window", "too long")
"""How engines say that a prompt does not fit."""
TRY_ELSEWHERE = frozenset({401, 403, 404, 429, 500, 502, 503, 504})
"""Refusals that are a server's own and not the request's; so is what is no refusal at all, as a redirect."""


class Refused(OSError):
    """A server's own refusal."""

    def __init__(self, error: MiniVaultError) -> None:
        super().__init__(error.message)
        self.error = error


def refusal(response: HTTPResponse, server: Server) -> Exception:
    """What a reply that is no 200 means: the request's own fault is raised as such, a server's as `Refused`."""
    data, told = b"", None
    with contextlib.suppress(*FAILURES):
        data = response.read(1 << 16)
    try:
        told = json.loads(data)
    except ValueError:
        told = data.decode("utf-8", "replace")
    return judged(response.status, told, server, response.getheader("Retry-After") or "")


def judged(status: int, told: Any, server: Server, retry_after: str = "") -> Exception:
    """The same of a reply that has been read."""
    message = message_of(told)
    if status in TRY_ELSEWHERE or not 400 <= status < 500:
        return Refused(_servers_own(status, message, server, retry_after))
    says = f"the engine that answers here refuses this: {message}"
    if any(words in message.lower() for words in TOO_LONG):
        return ContextExceeded(says, field="prompt")
    return BadRequest(says)


def _servers_own(status: int, message: str, server: Server, retry_after: str) -> MiniVaultError:
    if status in (401, 403):
        refused = f"the engine at {server.url} refuses the key of MINIVAULT_UPSTREAM_KEY_FILE: {message}"
        return UpstreamUnavailable(refused, retry_after_s=60)
    if status == 404:
        return ModelNotFound(f"the engine elsewhere knows no such model: {message}", field="model")
    if status in (429, 503):
        after_s = int(retry_after) if retry_after.isdigit() else 2
        return Overloaded(f"the engine elsewhere is busy: {message}", retry_after_s=after_s)
    return GenerationFailed(f"the engine elsewhere failed with {status}: {message or 'no reason given'}")
