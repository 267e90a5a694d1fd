"""Embeddings under the same promise as answers: one record each, durable before the vectors are given.

The record holds what was embedded and a digest of the vectors: they can be computed again from the tokens, and are
large.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from minivault.errors import MiniVaultError
from minivault.interaction.interactions import Interactions, Origin
from minivault.vault import Closing, Opening

SOURCE = "embedding"


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """One input as it was asked for and as the model reads it."""

    text: str
    tokens: tuple[int, ...]


def embed(interactions: Interactions, inputs: Sequence[EmbeddingInput], origin: Origin) -> list[list[float]]:
    """A unit vector for each input, in order, recorded. Raises VaultUnavailable when it cannot be, Loading, …"""
    began_ns = time.monotonic_ns()
    entry = interactions.vault.begin(_opening(interactions, inputs, origin))
    num_tokens = sum(len(item.tokens) for item in inputs)
    usage = {"prompt_tokens": num_tokens, "completion_tokens": 0, "total_tokens": num_tokens, "cached_tokens": 0}
    closing = Closing("failed", "error", "", usage=usage)
    try:
        vectors = interactions.service.embed([list(item.tokens) for item in inputs])
        timings = {"total_ns": time.monotonic_ns() - began_ns}
        closing = replace(closing, status="completed", finish_reason="stop", response=digest(vectors), timings=timings)
    except MiniVaultError as error:
        closing = replace(closing, error={"code": error.code, "message": error.message})
        raise
    finally:
        entry.finish(closing)
    return vectors


def digest(vectors: Sequence[Sequence[float]]) -> str:
    """SHA-256 over all numbers as little-endian float32, vector after vector."""
    hashed = hashlib.sha256()
    for vector in vectors:
        hashed.update(struct.pack(f"<{len(vector)}f", *vector))
    return f"sha256:{hashed.hexdigest()}"


def _opening(interactions: Interactions, inputs: Sequence[EmbeddingInput], origin: Origin) -> Opening:
    info = interactions.service.model.info
    text = "\n".join(item.text for item in inputs)
    return Opening(
        id=origin.id,
        time_ns=time.time_ns(),
        api=origin.api,
        stream=False,
        model=info.name,
        fingerprint=info.fingerprint,
        parameters={"num_inputs": len(inputs)},
        prompt=text,
        request=origin.body,
        rendered_prompt=text,
        prompt_tokens=tuple(token for item in inputs for token in item.tokens),
        client=origin.client,
        user_agent=origin.user_agent,
        key=origin.key,
        answerer=SOURCE,
    )
