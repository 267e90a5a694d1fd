from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import BadRequest, GenerationFailed
from minivault.structured.grammar import MAX_SCHEMA_CHARACTERS, GrammarCompiler
from tests.scripted import EOS, VOCABULARY, ByteTokenizer

MAX_STEPS = 3000
COMPILER = GrammarCompiler(ByteTokenizer())

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "boolean"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
}
SCHEMAS: list[dict[str, Any]] = [
    PERSON,
    TREE,
    {"type": "string", "pattern": "^[0-9]{3}-[a-f]+$", "maxLength": 9},
    {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "minItems": 1, "maxItems": 3},
    {"oneOf": [{"const": "yes"}, {"const": {"no": [1, None]}}]},
    {"type": "string", "format": "date"},
]


def walk(grammar: str, seed: int) -> tuple[str, bool]:
    """Draw uniformly among the allowed tokens; the text, and whether it came to its end."""
    rng = random.Random(seed)
    constraint = COMPILER.compile(grammar)
    output = bytearray()
    for _ in range(MAX_STEPS):
        logits = np.zeros(VOCABULARY, np.float32)
        constraint.mask(logits)
        allowed = np.flatnonzero(np.isfinite(logits))
        token = EOS if EOS in allowed and rng.random() < 0.3 else int(rng.choice(allowed))
        constraint.accept(token)
        if token == EOS:
            return output.decode(), True
        output.append(token)
    return output.decode("utf-8", "replace"), False


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(next(iter(schema.values()))))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_sampled_validates_when_it_ends(schema: dict[str, Any], seed: int) -> None:
    text, has_ended = walk(json.dumps(schema), seed)
    if has_ended:
        jsonschema.validate(json.loads(text), schema)


def test_answers_do_come_to_an_end() -> None:
    ended = [walk(json.dumps(schema), seed)[1] for schema in SCHEMAS for seed in range(5)]
    assert sum(ended) >= len(ended) * 0.9


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_json_means_an_object(seed: int) -> None:
    text, has_ended = walk("json", seed)
    assert text.startswith("{")
    assert not has_ended or isinstance(json.loads(text), dict)


def test_the_same_draws_give_the_same_text() -> None:
    assert walk(json.dumps(PERSON), 7) == walk(json.dumps(PERSON), 7)


def test_the_end_is_allowed_exactly_when_the_answer_satisfies_the_schema() -> None:
    constraint = COMPILER.compile('{"enum": [1, 12]}')
    ends = []
    for token in b"12":
        logits = np.zeros(VOCABULARY, np.float32)
        constraint.mask(logits)
        ends.append(bool(np.isfinite(logits[EOS])))
        assert constraint.is_complete == ends[-1]
        constraint.accept(token)
    assert ends == [False, True]


def test_columns_beyond_the_vocabulary_are_masked() -> None:
    logits = np.zeros(VOCABULARY + 60, np.float32)
    COMPILER.compile("json").mask(logits)
    assert np.flatnonzero(np.isfinite(logits)).tolist() == [ord("{")]


def test_two_answers_to_one_schema_do_not_share_state() -> None:
    first, second = COMPILER.compile("json"), COMPILER.compile("json")
    first.accept(ord("{"))
    logits = np.zeros(VOCABULARY, np.float32)
    second.mask(logits)
    assert np.isfinite(logits[ord("{")])


def test_a_token_the_schema_forbids_ends_the_generation() -> None:
    with pytest.raises(GenerationFailed, match="too complex to follow"):
        COMPILER.compile("json").accept(ord("x"))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("[]", "schema"),
        ('{"type": "strin"}', "strin"),
        ('{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ('{"$ref": "http://example.org/schema"}', "example.org"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', "minimum"),
        ('{"type": "string", "pattern": "("}', "regex"),
        ('{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}', r"refers to itself"),
        ('{"description": "' + "x" * MAX_SCHEMA_CHARACTERS + '"}', "longer"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_by_field_and_reason(schema: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as refused:
        COMPILER.compile(schema, "response_format")
    assert refused.value.field == "response_format"


def test_a_schema_cannot_loosen_the_layout() -> None:
    constraint = COMPILER.compile('{"type": "object", "x-guidance": {"whitespace_flexible": true}}')
    constraint.accept(ord("{"))
    logits = np.zeros(VOCABULARY, np.float32)
    constraint.mask(logits)
    assert not np.isfinite(logits[ord(" ")])


class SpacedTokenizer(ByteTokenizer):
    """Begins every text with a space, as most SentencePiece vocabularies do."""

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return super().encode(f" {text}", add_special=add_special)


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_a_vocabulary_that_begins_texts_with_a_space_is_constrained_like_any(schema: dict[str, Any]) -> None:
    """What a schema leaves no choice about is spelt in the schema's bytes, not in what the tokenizer makes of them."""
    ours, others = (GrammarCompiler(tokenizer()) for tokenizer in (SpacedTokenizer, ByteTokenizer))
    one, two = (compiler.compile(json.dumps(schema)) for compiler in (ours, others))
    assert forced(one, two)


def forced(*constraints: Any) -> list[int]:
    """The first allowed token again and again, the same of every constraint."""
    found = []
    for _ in range(200):
        masks = [np.zeros(VOCABULARY, np.float32) for _ in constraints]
        for constraint, logits in zip(constraints, masks, strict=True):
            constraint.mask(logits)
        assert all(np.array_equal(masks[0], other) for other in masks[1:])
        token = int(np.flatnonzero(np.isfinite(masks[0]))[-1])
        if token == EOS:
            break
        for constraint in constraints:
            constraint.accept(token)
        found.append(token)
    return found
