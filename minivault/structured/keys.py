"""Keys: no object of an answer holds a key twice.

A grammar cannot remember which keys an object has. This follows the answer byte by byte and names the tokens that would
close a key which its object has already. A free key can always go on instead: nothing comes to a dead end. The answer's
layout has one spelling for each string, so keys are compared as they are written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.uint8]
QUOTE, BACKSLASH = b'"\\'


class ClosingTokens:
    """The tokens of one vocabulary that can close a string, by what they hold before the quote that does."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.tokens = tokens
        self.plain: dict[bytes, list[int]] = defaultdict(list)
        self.escaped: dict[bytes, list[int]] = defaultdict(list)
        """The same where the string so far ends in a backslash."""
        self.spanning: NDArray[np.intp] = np.array(
            [token_id for token_id, token in enumerate(tokens) if token.count(b'"') > 1], np.intp
        )
        """Tokens with two quotes or more: they can hold a whole key."""
        for token_id, token in enumerate(tokens):
            if QUOTE not in token:
                continue
            for heads, start in ((self.plain, 0), (self.escaped, 1)):
                end = _closing_quote(token, start)
                if end is not None:
                    heads[token[:end]].append(token_id)


class Keys:
    """Where in an answer we are, and the keys of the objects that are open there."""

    def __init__(self, closing: ClosingTokens) -> None:
        self._closing = closing
        self._open: list[set[bytes] | None] = []
        self._key: bytearray | None = None
        self._in_string = self._is_escaped = self._expects_key = False

    def accept(self, token_id: int) -> None:
        """Advance by a token's bytes."""
        for byte in self._closing.tokens[token_id]:
            self._feed(byte)

    def repeating(self, is_allowed: Flags) -> Iterator[int]:
        """The tokens among those allowed that would repeat a key. `is_allowed` holds a truth value for each token."""
        if self._key is not None and (known := self._open[-1]):
            heads = self._closing.escaped if self._is_escaped else self._closing.plain
            for key in known:
                if key.startswith(self._key):
                    yield from heads.get(key[len(self._key) :], ())
        spanning = self._closing.spanning
        for token_id in spanning[is_allowed[spanning] != 0].tolist():
            if self._copy()._repeats(self._closing.tokens[token_id]):
                yield token_id

    def _copy(self) -> Keys:
        copy = Keys(self._closing)
        copy._open = [None if keys is None else set(keys) for keys in self._open]
        copy._key = None if self._key is None else bytearray(self._key)
        copy._in_string, copy._is_escaped = self._in_string, self._is_escaped
        copy._expects_key = self._expects_key
        return copy

    def _repeats(self, token: bytes) -> bool:
        return any(self._feed(byte) for byte in token)

    def _feed(self, byte: int) -> bool:
        """Take one byte; True when it closes a key that its object holds already."""
        if self._in_string:
            return self._feed_string(byte)
        if byte == QUOTE:
            self._in_string = True
            self._key = bytearray() if self._expects_key else None
        elif byte in b"{[":
            self._open.append(set() if byte in b"{" else None)
        elif byte in b"}]":
            self._open.pop()
        if byte in b"{[,":
            self._expects_key = self._open[-1] is not None
        elif byte in b":":
            self._expects_key = False
        return False

    def _feed_string(self, byte: int) -> bool:
        if byte == QUOTE and not self._is_escaped:
            return self._close_string()
        self._is_escaped = byte == BACKSLASH and not self._is_escaped
        if self._key is not None:
            self._key.append(byte)
        return False

    def _close_string(self) -> bool:
        self._in_string, key, self._key = False, self._key, None
        keys = self._open[-1] if key is not None else None
        if key is None or keys is None:
            return False
        is_repeated = bytes(key) in keys
        keys.add(bytes(key))
        return is_repeated


def _closing_quote(token: bytes, start: int) -> int | None:
    """Where the first quote stands that is not escaped, looking from `start`."""
    position = start
    while position < len(token):
        if token[position] == QUOTE:
            return position
        position += 2 if token[position] == BACKSLASH else 1
    return None
