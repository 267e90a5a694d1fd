"""A text as the words that count when one asks whether it was said, whatever its case, marks, spaces and spelling of
characters; and the hashes of runs of them (shingles) that an index keeps.

Of a text every fourth run of five words is indexed, and every run of one that is looked for: so whatever shares eight
words in a row is found. A text of fewer words is indexed, and found, as a whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b

SHINGLE, STRIDE = 5, 4
MIN_PART = SHINGLE + STRIDE - 1
"""Words of the shortest part of a text that is always found."""
HASH_BYTES = 5
_APOSTROPHES = "'\u2018\u2019\u02bc\u2032"
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai and Lao, Burmese, Khmer
    *((0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
"""Scripts without spaces between words: each character counts as a word."""
_VARIATIONS = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\"\\/bfnrt])")


class _Folding(dict[int, str]):
    """What each character becomes, worked out when it first occurs."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _folded(chr(code))
        return folded


def _folded(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or character in _APOSTROPHES or _is_in(character, _VARIATIONS):
        return ""
    if category[0] not in "LMN":
        return " "
    return f" {character} " if _is_in(character, _UNSPACED) else character


def _is_in(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)


_FOLDING = _Folding()


def words(text: str) -> list[str]:
    """The words of a text: NFKC and caseless, letters, marks and digits alone; what JSON writes as an escape counts as
    what it stands for."""
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.casefold()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.translate(_FOLDING).split()


def _unescaped(match: re.Match[str]) -> str:
    escape = match[0]
    if escape[1] != "u":
        return " "
    units = b"".join(bytes.fromhex(unit) for unit in escape.split("\\u") if unit)
    return units.decode("utf-16-be", "surrogatepass")


def shingles(text: Sequence[str]) -> Iterator[int]:
    """What an index keeps of a text, given as words."""
    if len(text) < MIN_PART:
        yield from whole(text)
        return
    for at in range(0, len(text) - SHINGLE + 1, STRIDE):
        yield _hash(text[at : at + SHINGLE], b"part")


def sought(text: Sequence[str]) -> set[int]:
    """What to look for in an index."""
    if len(text) < MIN_PART:
        return set(whole(text))
    return {_hash(text[at : at + SHINGLE], b"part") for at in range(len(text) - SHINGLE + 1)}


def whole(text: Sequence[str]) -> Iterator[int]:
    """Of a short text: that it was all there was."""
    if text:
        yield _hash(text, b"whole")


def _hash(run: Sequence[str], person: bytes) -> int:
    return int.from_bytes(blake2b(" ".join(run).encode(), digest_size=HASH_BYTES, person=person).digest(), "big")
