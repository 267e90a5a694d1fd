"""The fingerprint: one string that is equal exactly when the same request must give the same tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

VERSION = "mv2"
"""Raised when what the parts mean changes: under another version nothing is the same engine."""


def fingerprint(parts: Mapping[str, str]) -> str:
    """`mv2:` and the SHA-256 over everything that can change a token: digests of weights, config, tokenizer and
    template, versions of grammar and sampler, and the runner's signature (name, arithmetic, quantisation; of runners
    whose numbers depend on it also libraries, device and kind of CPU). Anyone can compute it from the published parts:
    JSON with sorted keys, no spaces, ASCII only."""
    canonical = json.dumps(dict(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{VERSION}:{hashlib.sha256(canonical.encode()).hexdigest()}"
