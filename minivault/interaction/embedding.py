"""Embeddings under the same promise as answers: one record each, durable before the vectors are given.

The record holds what was embedded and a digest of the vectors: they can be computed again from the tokens, and are
large.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from minivault.interaction.recorder import Origin, Recorder
from minivault.service import Model
from minivault.types import Embedding, EmbedTask, Usage


def embed(
    recorder: Recorder, model: Model, task: EmbedTask, origin: Origin
) -> tuple[Embedding, Mapping[str, Any] | None]:
    """The vectors of the inputs, and what the client may keep of the record. Raises VaultUnavailable when it cannot be
    recorded, Loading, …"""
    began_ns = time.monotonic_ns()
    recording = recorder.open(task, model.info, origin)
    try:
        found = model.embed(task)
    except BaseException as error:
        failure = error if isinstance(error, Exception) else None
        recording.close("error", "", usage=Usage(prompt_tokens=len(task.tokens)), timings={}, error=failure)
        raise
    timings, usage = {"total_ns": time.monotonic_ns() - began_ns}, Usage(prompt_tokens=found.num_tokens)
    recording.close("stop", digest(found.vectors), usage=usage, timings=timings, upstream=found.told)
    return found, recording.receipt()


def digest(vectors: Sequence[Sequence[float]]) -> str:
    """SHA-256 over all numbers as little-endian float32, vector after vector."""
    hashed = hashlib.sha256()
    for vector in vectors:
        hashed.update(struct.pack(f"<{len(vector)}f", *vector))
    return f"sha256:{hashed.hexdigest()}"
