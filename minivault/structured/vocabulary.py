"""A model's vocabulary as the grammar's library takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from llguidance import LLTokenizer, TokenizerWrapper

MAX_TOKEN_BYTES = 32
Encode = Callable[[str], list[int]]


class _Vocabulary:
    """The members that the library asks for. Special tokens are no text: it gives them none either."""

    bos_token_id: int | None = None

    def __init__(self, tokens: Sequence[bytes], eos_ids: Sequence[int], encode: Encode) -> None:
        self.eos_token_id = eos_ids[0]
        self.tokens = list(tokens)
        self.special_token_ids: Sequence[int] = [i for i, token in enumerate(self.tokens) if not token]
        self._encode = encode

    def __call__(self, text: str) -> list[int]:
        """Tokens whose bytes are the text's: those of a tokenizer that begins every text with a space are not."""
        found = self._encode(text)
        data = b"".join(self.tokens[token_id] for token_id in found)
        return found if data == text.encode() else longest_tokens(self._ids, text)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return {token: token_id for token_id, token in enumerate(self.tokens) if token}


def library_tokenizer(tokens: Sequence[bytes], eos_ids: Sequence[int], encode: Encode) -> LLTokenizer:
    """Takes about 0.1 s for 50,000 tokens. `eos_ids`, at least one, in order."""
    wrapped = TokenizerWrapper(_Vocabulary(tokens, eos_ids, encode))
    return LLTokenizer(wrapped, n_vocab=len(tokens), eos_token=list(eos_ids))


def longest_tokens(ids: Mapping[bytes, int], text: str) -> list[int]:
    """A text as tokens where the model's own tokenizer is not at hand: the longest that fits, again and again."""
    data, found, position = text.encode(), list[int](), 0
    while position < len(data):
        ends = range(min(len(data), position + MAX_TOKEN_BYTES), position, -1)
        end = next((end for end in ends if data[position:end] in ids), None)
        if end is None:
            return found
        found.append(ids[data[position:end]])
        position = end
    return found
