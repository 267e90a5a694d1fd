"""What a record says of a scored prompt: a digest, since the scores can be computed again from the tokens."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

from minivault.types import TokenLogprob


def digest(prompt_logprobs: Iterable[TokenLogprob]) -> str:
    """SHA-256 over the scores of a prompt, token after token: its id and rank as little-endian int64 and its
    log-probability as float64, then the same of each alternative without the rank."""
    hashed = hashlib.sha256()
    for item in prompt_logprobs:
        hashed.update(struct.pack("<qqd", item.token_id, item.rank, item.logprob))
        for other in item.top:
            hashed.update(struct.pack("<qd", other.token_id, other.logprob))
    return f"sha256:{hashed.hexdigest()}"
