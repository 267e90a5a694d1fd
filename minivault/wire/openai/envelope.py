"""What every OpenAI reply carries around its content: identity, usage, finish reasons, errors."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minivault.types import FinishReason, ModelInfo, Usage
from minivault.wire.dialect import shown

SERVER_FAULT = 500
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_exceeded"}
CODES = {
    "unauthorized": "invalid_api_key",
    "unsupported": "unsupported_parameter",
    "quota_exceeded": "rate_limit_exceeded",
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """One reply's identity: the same on every chunk. `created_s` is in seconds since 1970."""

    id: str
    model: str
    fingerprint: str
    created_s: int

    def head(self, kind: str, prefix: str = "cmpl") -> dict[str, Any]:
        """The members every object of this reply opens with."""
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def created_s(record_id: str) -> int:
    """When a request came, in seconds since 1970: its id (UUID version 7) says so, then and later."""
    return (uuid.UUID(record_id).int >> 80) // 1000


def finish_reason(reason: FinishReason) -> str:
    """OpenAI knows two ends of plain text: it stopped by itself, or it was cut."""
    return "stop" if reason == "stop" else "length"


def encode_usage(usages: Sequence[Usage]) -> dict[str, Any]:
    """Tokens of all choices together; a prompt that several choices share counts once a choice."""
    prompt = sum(usage.prompt_tokens for usage in usages)
    completion = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in usages)},
        "completion_tokens_details": {"reasoning_tokens": sum(usage.reasoning_tokens for usage in usages)},
    }


def encode_error(error: Exception, _request_id: str = "") -> dict[str, Any]:
    """The body of every error, and the event of a stream that broke: all four keys, always."""
    ours = shown(error)
    kind = "server_error" if ours.status >= SERVER_FAULT else TYPES.get(ours.status, "invalid_request_error")
    return {
        "error": {"message": ours.message, "type": kind, "param": ours.field, "code": CODES.get(ours.code, ours.code)}
    }


def encode_models(infos: Sequence[ModelInfo]) -> dict[str, Any]:
    """The reply of `GET /v1/models`."""
    return {"object": "list", "data": [encode_model(info.name, info) for info in infos]}


def encode_model(name: str, info: ModelInfo) -> dict[str, Any]:
    """The reply of `GET /v1/models/{id}`; `name` is as the client wrote it. The context's size has two names in use."""
    return {
        "id": name,
        "object": "model",
        "created": info.modified_ns // 10**9,
        "owned_by": "minivault",
        "max_model_len": info.context,
        "context_length": info.context,
    }
