"""Text to tokens and back as a model reads it, for those who count before they ask. Nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from minivault.errors import Unsupported
from minivault.service.prompt import ensure_tokens_exist, read_prompt
from minivault.types import GenerationRequest, Tokenizer


class Tokens(Protocol):
    """What one model's tokenizer makes of requests, texts and ids."""

    def of_request(self, request: GenerationRequest) -> tuple[int, ...]:
        """Those that an answer to the request would follow, also where they are too many for one. Raises BadRequest."""
        ...

    def of_text(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[int, ...]:
        """Those of a text: with what belongs around one (`add_special`), and with what spells a control token read as
        one (`parse_special`) or as the plain text it is. Raises Unsupported where that cannot be told."""
        ...

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The text of an answer of these tokens, control tokens by their names. Raises BadRequest for what is none."""
        ...

    def pieces_of(self, token_ids: Sequence[int]) -> list[bytes]:
        """What each token is written as on its own. Raises Unsupported where that cannot be told."""
        ...


class LocalTokens:
    """`Tokens` of a model that is computed here."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of_request(self, request: GenerationRequest) -> tuple[int, ...]:
        """See `Tokens.of_request`."""
        return read_prompt(request, self._tokenizer).tokens

    def of_text(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[int, ...]:
        """See `Tokens.of_text`; neither of both is not offered."""
        if parse_special:
            return tuple(self._tokenizer.encode(text, add_special=add_special))
        if not add_special:
            message = "parse_special: false is only offered together with add_special: true"
            raise Unsupported(message, field="parse_special")
        return self._tokenizer.read(text).tokens

    def text_of(self, token_ids: Sequence[int]) -> str:
        """See `Tokens.text_of`."""
        ensure_tokens_exist(token_ids, self._tokenizer, "tokens")
        decode = self._tokenizer.decoder()
        pieces = (decode(token_id) or self._name(token_id) for token_id in token_ids)
        return b"".join(pieces).decode("utf-8", "replace")

    def pieces_of(self, token_ids: Sequence[int]) -> list[bytes]:
        """See `Tokens.pieces_of`."""
        return [self._tokenizer.token_bytes(token_id) or self._name(token_id) for token_id in token_ids]

    def _name(self, token_id: int) -> bytes:
        """A control token's name; nothing for one that is text, which a decoder may hold back."""
        return b"" if self._tokenizer.token_bytes(token_id) else self._tokenizer.token_name(token_id).encode()
