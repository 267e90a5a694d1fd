"""Token ids that clients send: checked against the vocabulary before anything is done with them."""

from __future__ import annotations

from collections.abc import Iterable

from minivault.errors import BadRequest
from minivault.types import Tokenizer


def ensure_tokens_exist(token_ids: Iterable[int], tokenizer: Tokenizer, field: str) -> None:
    """Raise BadRequest naming `field` when an id is none of the model's."""
    for token_id in token_ids:
        if not 0 <= token_id < tokenizer.vocabulary_size:
            message = f"{field}: {token_id} is not a token; ids go from 0 to {tokenizer.vocabulary_size - 1}"
            raise BadRequest(message, field=field)


def token_text(token_ids: Iterable[int], tokenizer: Tokenizer) -> str:
    """The text that these tokens stand for."""
    return b"".join(map(tokenizer.token_bytes, token_ids)).decode("utf-8", "replace")
