"""Embeddings for both dialects: texts or token ids in, unit vectors out, within the caller's limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flask import g

from minivault.access.caller import charge_tokens, generation_permit
from minivault.api.streaming import interactions
from minivault.api.tokens import ensure_tokens_exist, token_text
from minivault.errors import BadRequest, ContextExceeded
from minivault.interaction import Origin
from minivault.interaction.embedding import EmbeddingInput
from minivault.interaction.embedding import embed as record_and_embed


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector an input, in order, and how many tokens were read."""

    vectors: list[list[float]]
    num_tokens: int


def embed(
    inputs: Sequence[str | list[int]], source: Origin, *, dimensions: int | None = None, truncate: bool = True
) -> Embedded:
    """Embed texts or token ids. Raises ContextExceeded for an input that is too long, unless it may be truncated."""
    size = interactions().service.model.info.embedding_length
    if dimensions is not None and dimensions > size:
        raise BadRequest(f"dimensions must be at most {size}, not {dimensions}", field="dimensions")
    batch = [_read(item, truncate=truncate) for item in inputs]
    if not batch:
        return Embedded([], 0)
    num_tokens = sum(len(item.tokens) for item in batch)
    with generation_permit(g.caller):
        vectors = record_and_embed(interactions(), batch, source)
    charge_tokens(g.caller, num_tokens)
    return Embedded([_shortened(vector, dimensions) for vector in vectors], num_tokens)


def _read(item: str | list[int], *, truncate: bool) -> EmbeddingInput:
    served = interactions().service.model
    if isinstance(item, str):
        text, tokens = item, served.tokenizer.encode(item, add_special=True)
    else:
        ensure_tokens_exist(item, served.tokenizer, "input")
        text, tokens = token_text(item, served.tokenizer), item
    if not tokens:
        raise BadRequest("input: must not be empty", field="input")
    if len(tokens) > served.info.context and not truncate:
        message = f"an input has {len(tokens)} tokens; the model reads {served.info.context}"
        raise ContextExceeded(message, field="input")
    return EmbeddingInput(text, tuple(tokens[: served.info.context]))


def _shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """The first `dimensions` numbers, scaled back to unit length."""
    if dimensions is None:
        return vector
    kept = vector[:dimensions]
    length = math.hypot(*kept) or 1.0
    return [value / length for value in kept]
