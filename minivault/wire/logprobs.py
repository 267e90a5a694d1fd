"""Log-probabilities as chat clients read them: one layout, shared by Ollama and OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivault.types import TokenLogprob, TopLogprob

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot write."""


def token_text(data: bytes) -> str:
    """A token's bytes as text; bytes of an unfinished character become U+FFFD."""
    return data.decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """A log-probability that JSON can carry."""
    return max(logprob, LEAST_LOGPROB)


def spoken(logprobs: Sequence[TokenLogprob]) -> list[TokenLogprob]:
    """Without the tokens that are no text, such as the one that ends the answer: clients match entries to text."""
    return [item for item in logprobs if item.data]


def encode_logprobs(logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """`[{token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}]`, one entry a sampled token."""
    return [_entry(item) | {"top_logprobs": [_entry(other) for other in item.top]} for item in logprobs]


def _entry(item: TopLogprob) -> dict[str, Any]:
    return {"token": token_text(item.data), "logprob": finite(item.logprob), "bytes": list(item.data)}
