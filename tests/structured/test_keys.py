"""No key twice, however a vocabulary cuts the answer into tokens."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minivault.structured.keys import ClosingTokens, Keys


class Pairs(list[tuple[str, object]]):
    """An object that may hold a key twice."""


TEXT = st.text('ab"\\', max_size=3)
VALUES = st.recursive(
    st.integers(0, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXT, inner), max_size=4).map(Pairs),
    max_leaves=8,
)


def written(value: object) -> str:
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def num_before_a_repeat(value: object, position: int = 0) -> int | None:
    """How many bytes come before the quote that closes the first repeated key."""
    if isinstance(value, Pairs):
        seen = set[str]()
        position += 1
        for key, item in value:
            position += len(json.dumps(key))
            if key in seen:
                return position - 1
            seen.add(key)
            position += 2
            if (found := num_before_a_repeat(item, position)) is not None:
                return found
            position += len(written(item)) + 2
    elif isinstance(value, list):
        position += 1
        for item in value:
            if (found := num_before_a_repeat(item, position)) is not None:
                return found
            position += len(written(item)) + 2
    return None


@given(VALUES, st.lists(st.integers(1, 4), min_size=1, max_size=40))
def test_exactly_the_token_that_repeats_a_key_is_named(value: object, lengths: list[int]) -> None:
    text = written(value).encode()
    tokens, position = list[bytes](), 0
    for length in lengths * len(text):
        tokens.append(text[position : position + length])
        position += length
    tokens = [token for token in tokens if token]
    keys, only = Keys(ClosingTokens(tokens)), np.eye(len(tokens), dtype=np.uint8)
    position, repeat = 0, num_before_a_repeat(value)
    for token_id, token in enumerate(tokens):
        is_repeat = repeat is not None and position <= repeat < position + len(token)
        assert (token_id in set(keys.repeating(only[token_id]))) == is_repeat
        if is_repeat:
            return
        keys.accept(token_id)
        position += len(token)
