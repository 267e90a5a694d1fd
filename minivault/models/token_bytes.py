"""From token ids back to bytes, exactly and one token at a time.

Two families of vocabularies are understood to the byte: byte-level BPE (GPT-2 and most since), whose token strings
spell bytes in a fixed alphabet, and SentencePiece with byte fallback (`▁` for a space, `<0xE2>` for a byte). For any
other, the tokenizer's own decoder is asked for the text so far and the difference is the new token's bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minivault.types import TokenDecoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_REPLACEMENT = "�"
Spell = Callable[[str], bytes]


def _byte_alphabet() -> dict[str, int]:
    """Character → byte of the GPT-2 alphabet: printable Latin-1 is itself, the rest are 256, 257, … in order."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


_ALPHABET = _byte_alphabet()


class TokenBytes:
    """The bytes of each token of one vocabulary. `spell` turns a token string into bytes."""

    def __init__(self, tokenizer: Tokenizer, spell: Spell) -> None:
        self._tokenizer = tokenizer
        self._spell = spell
        self._special = {index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._plain = {index for index, token in tokenizer.get_added_tokens_decoder().items() if not token.special}
        self._known: dict[int, bytes] = {}

    def __call__(self, token_id: int) -> bytes:
        """Empty for special tokens and for ids outside the vocabulary."""
        found = self._known.get(token_id)
        if found is None:
            found = self._known[token_id] = self._look_up(token_id)
        return found

    def _look_up(self, token_id: int) -> bytes:
        token = self._tokenizer.id_to_token(token_id) if token_id >= 0 else None
        if token is None or token_id in self._special:
            return b""
        return token.encode("utf-8") if token_id in self._plain else self._spell(token)


class StripFirstSpace:
    """A decoder for vocabularies whose text starts with one space that is not part of it."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._at_start = True

    def __call__(self, token_id: int) -> bytes:
        piece = self._token_bytes(token_id)
        if self._at_start and piece:
            self._at_start = False
            return piece.removeprefix(b" ")
        return piece


class DifferenceDecoder:
    """A decoder for any other vocabulary: what the tokenizer's own decoding of the whole answer gained by this token.

    Text that ends in an unfinished character is held back until it is finished.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._text = ""

    def __call__(self, token_id: int) -> bytes:
        self._ids.append(token_id)
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        if text.endswith(_REPLACEMENT) or not text.startswith(self._text):
            return b""
        new, self._text = text[len(self._text) :], text
        return new.encode("utf-8")


def decoding(tokenizer: Tokenizer, decoder: Any) -> tuple[Callable[[int], bytes], Callable[[], TokenDecoder]]:
    """How to turn ids into bytes, given the `decoder` section of tokenizer.json: (bytes of one token alone, a maker of
    decoders for one answer)."""
    steps = _steps(decoder)
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        exact = TokenBytes(tokenizer, _spell_byte_level)
        return exact, lambda: exact
    if is_sentencepiece(decoder):
        pieces = TokenBytes(tokenizer, _spell_sentencepiece)
        strips = "Strip" in kinds or any(_strips(step) for step in steps)
        return pieces, (lambda: StripFirstSpace(pieces)) if strips else (lambda: pieces)
    return TokenBytes(tokenizer, lambda token: tokenizer.decode([_id(tokenizer, token)]).encode("utf-8")), (
        lambda: DifferenceDecoder(tokenizer)
    )


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    return -1 if found is None else found


def _steps(decoder: Any) -> list[dict[str, Any]]:
    steps = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    return [step for step in steps if isinstance(step, dict)]


def is_sentencepiece(decoder: Any) -> bool:
    """Told from the `decoder` section: pieces with `▁` for a space, and bytes."""
    steps = _steps(decoder)
    kinds = [step.get("type") for step in steps]
    if not set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        return False
    turns_spaces = [step for step in steps if step.get("type") in ("Replace", "Metaspace")]
    return len(turns_spaces) == 1 and (
        turns_spaces[0].get("replacement") == "▁"
        or (turns_spaces[0].get("pattern") == {"String": "▁"} and turns_spaces[0].get("content") == " ")
    )


def _strips(step: dict[str, Any]) -> bool:
    return step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") != "never"


def _spell_byte_level(token: str) -> bytes:
    try:
        return bytes([_ALPHABET[character] for character in token])
    except KeyError:  # not written in the alphabet: an added token of an older file
        return token.encode("utf-8")


def _spell_sentencepiece(token: str) -> bytes:
    match = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else token.replace("▁", " ").encode("utf-8")


def decoder_section(tokenizer: Tokenizer) -> Any:
    """The `decoder` section of a tokenizer, as data; None when it has none."""
    return None if tokenizer.decoder is None else json.loads(tokenizer.decoder.__getstate__())
