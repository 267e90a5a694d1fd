"""Compiling a rewritten schema with the grammar's library, within bounds of its own."""

from __future__ import annotations

import re
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from minivault.structured.refusal import SchemaRefused
from minivault.types import PATTERN

LAYOUT: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
    # One way to write a character: a key cannot be repeated under another spelling, nor half a surrogate be written.
    "json_allowed_escapes": 'nrbtf\\"',
}
"""One space after each comma and colon and nowhere else: a model cannot spend its answer on blanks."""
MAX_REASON_CHARACTERS = 200
TOO_OPEN = "it leaves too much open at once; make properties required, or have fewer"
TOO_LONG = "its patterns or lists of values are too complex; shorten them, repetitions first"
PLAIN = {
    "NoExtensionBias": "no value satisfies it",
    "items; max is": TOO_OPEN,
    "TooComplex": TOO_OPEN,
    "too many expressions": TOO_LONG,
    "lexer": TOO_LONG,
    "fuel": TOO_LONG,
    "regex is empty": TOO_LONG,
}
"""Words of the library's own about its limits, and what they mean to whoever wrote the schema."""


def limits(share: int = 1) -> LLParserLimits:
    """What compiling and each step may cost; `share` divides what a step may."""
    return LLParserLimits(
        initial_lexer_fuel=500_000,
        max_grammar_size=100_000,
        max_lexer_states=16_000 // share,
        step_lexer_fuel=200_000 // share,
        step_max_items=50_000 // share,
        max_items_in_row=8_000 // share,
        verbose_errors=False,
    )


def compiled(tokenizer: LLTokenizer, schema: str, bounds: LLParserLimits) -> LLMatcher:
    """A matcher at its beginning, its first mask computed; `schema` may be a pattern. Raises SchemaRefused."""
    try:
        matcher = LLMatcher(tokenizer, _grammar(schema), log_level=0, limits=bounds)
    except ValueError as error:
        raise SchemaRefused(_one_line(str(error))) from None
    matcher.compute_bitmask()  # the first mask finds what compilation leaves unsaid, such as an empty language
    ensure_sound(matcher)
    return matcher


def _grammar(schema: str) -> str:
    if schema.startswith(PATTERN):
        return LLMatcher.grammar_from_regex(schema.removeprefix(PATTERN))
    return LLMatcher.grammar_from_json_schema(schema, overrides=LAYOUT)


def ensure_sound(matcher: LLMatcher) -> None:
    """Raises SchemaRefused when the matcher has given up."""
    if matcher.is_error():
        raise SchemaRefused(_one_line(matcher.get_error()))


def _one_line(text: str) -> str:
    """What the library says, without the state of its machinery."""
    reason = " ".join(re.split("<state>|<non-verbose/>", text)[0].split())
    return next((plain for word, plain in PLAIN.items() if word in reason), reason[:MAX_REASON_CHARACTERS])
