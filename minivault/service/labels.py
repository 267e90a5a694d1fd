"""Labels: what stands for an option as the one token that an answer goes on with.

An answer begins with `Answer:`. Which texts are one token after that, no other option's and none that changes what is
before them, is tried with the tokenizer at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product
from string import ascii_lowercase, ascii_uppercase, digits

from minivault.errors import Unsupported
from minivault.types import Tokenizer

BEGINNING = "Answer:"
"""What the answer begins with, in the model's own turn."""
MAX_LETTERS = 255


class Labels:
    """The labels of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of_names(self, names: Sequence[str]) -> tuple[int, ...]:
        """The tokens of the options' own names; none unless each is a single token and different from the others."""
        found = [token for name in names if (token := self._token(self._blank + name)) is not None]
        return tuple(found) if len(set(found)) == len(names) else ()

    def letters(self, num: int) -> Sequence[tuple[str, int]]:
        """`num` short texts, each with its token. Raises Unsupported where the tokenizer has too few."""
        if num > len(self._letters):
            message = f"this model tells at most {len(self._letters)} options apart with one token each, not {num}"
            raise Unsupported(message, field="questions")
        return self._letters[:num]

    @cached_property
    def _letters(self) -> tuple[tuple[str, int], ...]:
        found = dict[int, str]()
        for text in _candidates():
            if len(found) < MAX_LETTERS and (token := self._token(self._blank + text)) is not None:
                found.setdefault(token, text)
        return tuple((text, token) for token, text in found.items())

    @cached_property
    def _blank(self) -> str:
        """A blank, where that is a part of the token after it."""
        return "" if self._token(" A") is None else " "

    def _token(self, text: str) -> int | None:
        """The one token that `text` is after the beginning of an answer; None where it is not one."""
        beginning = self._tokenizer.encode(BEGINNING, add_special=False)
        *before, token = self._tokenizer.encode(BEGINNING + text, add_special=False)
        return token if before == beginning else None


def _candidates() -> Iterator[str]:
    """A, B, …, AA, AB, …, a, …, aa, …, 0, …"""
    for alphabet in (ascii_uppercase, ascii_lowercase):
        yield from alphabet
        yield from map("".join, product(alphabet, repeat=2))
    yield from digits
