"""The fingerprint: one string that is equal exactly when the same request must give the same tokens."""

from __future__ import annotations

import hashlib
import json

VERSION = "mv1"


def fingerprint(**parts: str) -> str:
    """`mv1:` and the SHA-256 over everything that can change a token: digests of weights, config, tokenizer and
    template, versions of grammar and sampler, and the runner's signature (name, versions, quantisation, device)."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{VERSION}:{hashlib.sha256(canonical.encode()).hexdigest()}"
