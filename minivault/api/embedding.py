"""Embeddings for both dialects: texts or token ids in, unit vectors out, and an event in the vault that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flask import g

from minivault.api.streaming import interactions
from minivault.api.tokens import ensure_tokens_exist
from minivault.errors import BadRequest, ContextExceeded


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector an input, in order, and how many tokens were read."""

    vectors: list[list[float]]
    num_tokens: int


def embed(inputs: Sequence[str | list[int]], api: str, *, dimensions: int | None, truncate: bool) -> Embedded:
    """Embed texts or token ids. Raises ContextExceeded for an input that is too long, unless it may be truncated."""
    served = interactions().service.model
    size = served.info.embedding_length
    if dimensions is not None and dimensions > size:
        raise BadRequest(f"dimensions must be at most {size}, not {dimensions}", field="dimensions")
    batch = [_tokens(item, truncate=truncate) for item in inputs]
    vectors = [_shorten(vector, dimensions) for vector in interactions().service.embed(batch)]
    num_tokens = sum(map(len, batch))
    fields = {"id": g.request_id, "api": api, "num_inputs": len(batch), "num_tokens": num_tokens}
    interactions().vault.append_event("embed", fields)
    return Embedded(vectors, num_tokens)


def _tokens(item: str | list[int], *, truncate: bool) -> list[int]:
    served = interactions().service.model
    if isinstance(item, str):
        tokens = served.tokenizer.encode(item, add_special=True)
    else:
        ensure_tokens_exist(item, served.tokenizer, "input")
        tokens = item
    if not tokens:
        raise BadRequest("input: must not be empty", field="input")
    if len(tokens) > served.info.context and not truncate:
        message = f"an input has {len(tokens)} tokens; the model reads {served.info.context}"
        raise ContextExceeded(message, field="input")
    return tokens[: served.info.context]


def _shorten(vector: list[float], dimensions: int | None) -> list[float]:
    """The first `dimensions` numbers, scaled back to unit length."""
    if dimensions is None:
        return vector
    kept = vector[:dimensions]
    length = math.hypot(*kept) or 1.0
    return [value / length for value in kept]
