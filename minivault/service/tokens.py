"""Text to tokens and back as a model reads it, for those who count before they ask. Nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence

from minivault.errors import Unsupported
from minivault.service.prompt import ensure_tokens_exist, read_prompt
from minivault.types import GenerationRequest, Tokenizer


class Tokens:
    """What one model's tokenizer makes of requests, texts and ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of_request(self, request: GenerationRequest) -> tuple[int, ...]:
        """Those that an answer to the request would follow, also where they are too many for one. Raises BadRequest."""
        return read_prompt(request, self._tokenizer).tokens

    def of_text(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[int, ...]:
        """Those of a text: with what belongs around one (`add_special`), and with what spells a control token read as
        one (`parse_special`) or as the plain text it is. Raises Unsupported for neither."""
        if parse_special:
            return tuple(self._tokenizer.encode(text, add_special=add_special))
        if not add_special:
            message = "parse_special: false is only offered together with add_special: true"
            raise Unsupported(message, field="parse_special")
        return self._tokenizer.read(text).tokens

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The text of an answer of these tokens, control tokens by their names. Raises BadRequest for what is none."""
        ensure_tokens_exist(token_ids, self._tokenizer, "tokens")
        decode = self._tokenizer.decoder()
        pieces = (decode(token_id) or self._name(token_id) for token_id in token_ids)
        return b"".join(pieces).decode("utf-8", "replace")

    def pieces_of(self, token_ids: Sequence[int]) -> list[bytes]:
        """What each token is written as on its own."""
        return [self._tokenizer.token_bytes(token_id) or self._name(token_id) for token_id in token_ids]

    def _name(self, token_id: int) -> bytes:
        """A control token's name; nothing for one that is text, which a decoder may hold back."""
        return b"" if self._tokenizer.token_bytes(token_id) else self._tokenizer.token_name(token_id).encode()
