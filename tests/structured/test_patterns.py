"""Answers that match a regular expression as a whole: what is no JSON, too, can be held to a form."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import BadRequest
from minivault.types import PATTERN
from tests.structured.walking import COMPILER, follow

PATTERNS = [r"yes|no|don't know", r"\d{3}-\w+", r"[A-F]{2,4}", r"^a[^\d\s]b$", r"(?:x, )*x", r"\s?é+\s"]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_ends_matches_as_a_whole(pattern: str, seed: int) -> None:
    constraint = COMPILER.compile(PATTERN + pattern)
    text = follow(constraint, random.Random(seed), 400)
    if text is not None:
        assert re.fullmatch(pattern, text, re.ASCII)
        assert constraint.fault(text) is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=1, max_size=4))
def test_each_of_some_choices_can_be_said_and_nothing_else(choices: list[str]) -> None:
    constraint = COMPILER.compile(PATTERN + "|".join(map(re.escape, choices)))
    assert follow(constraint, random.Random(0), 100) in choices
    assert not any(constraint.fault(choice) for choice in choices)
    assert constraint.fault("".join(choices) + "x") == "it does not match"


@pytest.mark.parametrize("pattern", ["[", "(?=a)b", r"(a)\1", "(", "a{1,99999}{1,99999}"])
def test_a_pattern_that_cannot_be_held_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequest, match="format: this pattern cannot be used"):
        COMPILER.compile(PATTERN + pattern)
