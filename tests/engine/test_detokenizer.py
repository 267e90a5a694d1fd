"""Detokenizer: properties over any text, any split into tokens, any stop strings."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.detokenizer import Detokenizer

TEXT = st.text(alphabet="abé€😀\n", max_size=40)
STOPS = st.lists(st.text(alphabet="abé😀", min_size=1, max_size=5), max_size=8)


def tokens_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` split at `cuts`."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


def pieces_of(tokens: list[bytes], stop: list[str]) -> tuple[list[str], bool]:
    """What a detokenizer says for each token and at the end, and whether a stop string ended it."""
    detokenizer = Detokenizer(lambda index: tokens[index], stop)
    pieces = [detokenizer.feed(index) for index in range(len(tokens))]
    return [*pieces, detokenizer.flush()], detokenizer.is_stopped


def cut(text: str, stop: list[str]) -> str:
    """The definition: read character by character until a stop string is complete; leave out the longest such."""
    for end in range(len(text) + 1):
        ended = [s for s in stop if text[:end].endswith(s)]
        if ended:
            return text[: end - max(map(len, ended))]
    return text


@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60)))
def test_pieces_together_are_the_whole_decode_for_any_bytes(data: bytes, cuts: list[int]) -> None:
    pieces, _ = pieces_of(tokens_of(data, cuts), [])
    assert "".join(pieces) == data.decode("utf-8", "replace")


@given(text=TEXT, cuts=st.lists(st.integers(0, 200)))
def test_no_piece_of_valid_text_holds_a_replacement(text: str, cuts: list[int]) -> None:
    pieces, _ = pieces_of(tokens_of(text.encode(), cuts), [])
    assert "".join(pieces) == text


@given(text=TEXT, cuts=st.lists(st.integers(0, 200)), stop=STOPS)
def test_the_cut_is_exact_at_any_split(text: str, cuts: list[int], stop: list[str]) -> None:
    pieces, is_stopped = pieces_of(tokens_of(text.encode(), cuts), stop)
    assert "".join(pieces) == cut(text, stop)
    assert is_stopped == any(s in text for s in stop)


@given(text=TEXT, stop=STOPS)
def test_text_is_held_only_while_it_may_begin_a_stop_string(text: str, stop: list[str]) -> None:
    characters = [character.encode() for character in text]
    detokenizer = Detokenizer(lambda index: characters[index], stop)
    told = ""
    for index in range(len(characters)):
        told += detokenizer.feed(index)
        if detokenizer.is_stopped:
            return
        held = text[: index + 1].removeprefix(told)
        assert not held or any(s.startswith(held) for s in stop)


@pytest.mark.parametrize(("data", "text"), [(b"a\xf0\x9f\x98", "a\ufffd"), (b"\xff\xc3", "\ufffd\ufffd")])
def test_an_unfinished_character_becomes_one_replacement(data: bytes, text: str) -> None:
    pieces, _ = pieces_of([data], [])
    assert "".join(pieces) == text


def test_nothing_is_said_after_a_stop_string() -> None:
    pieces, _ = pieces_of([b"one ST", b"OP two", b"three"], ["STOP"])
    assert pieces == ["one ", "", "", ""]
