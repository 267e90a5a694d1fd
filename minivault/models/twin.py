"""The twin of a tokenizer: the same, except that no text anyone can write means one of its control tokens.

Every control token has another name in it, drawn at random for this process, wherever a tokenizer knows it by name;
ids, order and flags stay. A text with such a name in it is encoded as the original encodes the token there.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tokenizers

NAME_BYTES = 16


def names(tokens: Iterable[str]) -> dict[str, str]:
    """A secret name for each control token."""
    return {token: secrets.token_hex(NAME_BYTES) for token in tokens}


def make(tokenizer: tokenizers.Tokenizer, names: Mapping[str, str]) -> tokenizers.Tokenizer:
    """The twin in which control tokens have these names. Takes as long as loading the tokenizer."""
    import tokenizers

    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    for added in parts["added_tokens"]:
        added["content"] = names.get(added["content"], added["content"])
    model = parts["model"]
    model["vocab"] = _renamed(model["vocab"], names)
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _makes_control(merge, names)]
    if unknown := model.get("unk_token"):
        model["unk_token"] = names.get(unknown, unknown)
    return tokenizers.Tokenizer.from_str(json.dumps(parts))


def _renamed(vocabulary: Any, names: Mapping[str, str]) -> Any:
    """Pieces by id with their scores (unigram), or ids by piece (every other kind)."""
    if isinstance(vocabulary, list):
        return [[names.get(piece, piece), score] for piece, score in vocabulary]
    return {names.get(piece, piece): index for piece, index in vocabulary.items()}


def _makes_control(merge: str | list[str], names: Mapping[str, str]) -> bool:
    """Whether a merge takes or gives a control token: in the twin it would be of pieces that do not exist."""
    parts = merge.split(" ", 1) if isinstance(merge, str) else merge
    return "".join(parts) in names or any(part in names for part in parts)
