"""Log-probabilities as chat clients read them: one layout, shared by Ollama and OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minivault.types import TokenLogprob

TokenBytes = Callable[[int], bytes]
"""The bytes of a token on its own: `Tokenizer.token_bytes`."""

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot write."""


def token_text(data: bytes) -> str:
    """A token's bytes as text; bytes of an unfinished character become U+FFFD."""
    return data.decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """A log-probability that JSON can carry."""
    return max(logprob, LEAST_LOGPROB)


def spoken(logprobs: Sequence[TokenLogprob], token_bytes: TokenBytes) -> tuple[TokenLogprob, ...]:
    """Without the tokens that are no text, such as the one that ends the answer: clients match entries to text."""
    return tuple(item for item in logprobs if token_bytes(item.token_id))


def encode_logprobs(logprobs: Sequence[TokenLogprob], token_bytes: TokenBytes) -> list[dict[str, Any]]:
    """`[{token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}]`, one entry a sampled token."""
    return [
        _entry(item.token_id, item.logprob, token_bytes)
        | {"top_logprobs": [_entry(token_id, logprob, token_bytes) for token_id, logprob in item.top]}
        for item in logprobs
    ]


def _entry(token_id: int, logprob: float, token_bytes: TokenBytes) -> dict[str, Any]:
    data = token_bytes(token_id)
    return {"token": token_text(data), "logprob": finite(logprob), "bytes": list(data)}
