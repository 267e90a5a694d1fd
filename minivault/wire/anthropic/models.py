"""`GET /v1/models` as Anthropic's clients read it: one page with all there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivault.moment import rfc3339
from minivault.types import ModelInfo


def encode_models(infos: Sequence[ModelInfo]) -> dict[str, Any]:
    return {
        "data": [encode_model(info.name, info) for info in infos],
        "has_more": False,
        "first_id": infos[0].name,
        "last_id": infos[-1].name,
    }


def encode_model(name: str, info: ModelInfo) -> dict[str, Any]:
    """One model; `name` is as the client wrote it."""
    return {
        "type": "model",
        "id": name,
        "display_name": info.name,
        "created_at": f"{rfc3339(info.modified_ns)[:19]}Z",
        "lifecycle": "active",
        "max_input_tokens": info.context,
        "max_tokens": info.context,
    }
