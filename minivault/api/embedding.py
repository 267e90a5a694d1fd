"""Embeddings for both dialects: texts or token ids in, unit vectors out, within the caller's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import g

from minivault.access.caller import charge_tokens, generation_permit
from minivault.api.streaming import recorder, tell_truncated
from minivault.errors import BadRequest
from minivault.interaction import Origin
from minivault.interaction import embed as record_and_embed
from minivault.service import Model


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector an input, in order, how many tokens were read, and the receipts of the record, if there is one."""

    vectors: list[list[float]]
    num_tokens: int
    receipts: list[Mapping[str, Any] | None]


def embed(
    model: Model,
    inputs: Sequence[str | list[int]],
    source: Origin,
    *,
    dimensions: int | None = None,
    truncate: bool = True,
) -> Embedded:
    """Embed texts or token ids. Raises ContextExceeded for an input that is too long, unless it may be truncated."""
    _ensure_has(model.info.embedding_length, dimensions)
    if not inputs:
        return Embedded([], 0, [])
    task = model.prepare_embedding(inputs, truncate=truncate)
    if task.num_cut:
        tell_truncated(task)
    with generation_permit(g.caller):
        found, receipt = record_and_embed(recorder(), model, task, source)
    charge_tokens(g.caller, found.num_tokens)
    _ensure_has(len(found.vectors[0]), dimensions)
    return Embedded([_shortened(vector, dimensions) for vector in found.vectors], found.num_tokens, [receipt])


def _ensure_has(size: int, dimensions: int | None) -> None:
    """A model's vectors are as long as is asked for; of an engine elsewhere (0) that shows once there are some."""
    if dimensions is not None and 0 < size < dimensions:
        raise BadRequest(f"dimensions must be at most {size}, not {dimensions}", field="dimensions")


def _shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """The first `dimensions` numbers, scaled back to unit length."""
    if dimensions is None:
        return vector
    kept = vector[:dimensions]
    length = math.hypot(*kept) or 1.0
    return [value / length for value in kept]
