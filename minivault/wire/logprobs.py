"""Log-probabilities as chat clients read them: one layout, shared by Ollama and OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from minivault.types import TokenLogprob, TopLogprob

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot write."""

NumAlternatives = Annotated[int, Field(ge=0, le=20)]
"""How many of the likeliest tokens are told in the place of each."""


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


def encode_prompt_logprobs(prompt_logprobs: Sequence[TokenLogprob], num_top: int) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: for each token of a prompt `{token id: {logprob, rank, decoded_token}}`, with the token
    itself and the `num_top` likeliest in its place; null for the first."""
    return [None, *(_placed(item, num_top) for item in prompt_logprobs[1:])]


def _placed(item: TokenLogprob, num_top: int) -> dict[str, Any]:
    ranked = {item.token_id: (item.rank, item)} | {
        other.token_id: (rank, other) for rank, other in enumerate(item.top[:num_top], start=1)
    }
    return {
        str(token_id): {"logprob": finite(one.logprob), "rank": rank, "decoded_token": token_text(one.data) or one.name}
        for token_id, (rank, one) in ranked.items()
    }


def _entry(item: TopLogprob) -> dict[str, Any]:
    return {"token": token_text(item.data), "logprob": finite(item.logprob), "bytes": list(item.data)}
