"""Structured output: turns `json` or a JSON schema into a constraint that lets through only tokens that keep to it.

Built on llguidance, which derives the allowed next tokens from the schema while decoding. What the answer is by the
time it ends with `stop` parses and validates; an answer cut by `length` is the beginning of one that does.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, partial

from llguidance import LLMatcher, LLTokenizer

from minivault.errors import BadRequest
from minivault.structured.compiling import compiled, limits
from minivault.structured.constraint import SchemaConstraint
from minivault.structured.judge import Judge, Judged
from minivault.structured.keys import ClosingTokens, Keys
from minivault.structured.refusal import SchemaRefused
from minivault.structured.vocabulary import library_tokenizer
from minivault.types import PATTERN, Tokenizer

ANY = "json"
ANY_OBJECT = Judged('{"type": "object"}', 256 << 10, has_free_keys=True)
"""`json` is no foreign schema: no judge is needed to begin an answer, nor to end it."""
MAX_SCHEMA_CHARACTERS = 64 * 1024
MAX_CACHED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema, ready for the next answer."""

    matcher: LLMatcher
    size_bytes: int
    has_free_keys: bool


class GrammarCompiler:
    """Compiles grammars for one tokenizer. Thread-safe; compiled schemas are kept for the next request."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises BadRequest when the model has no token that ends an answer."""
        if not tokenizer.eos_ids:
            raise BadRequest("this model has no end-of-text token: structured output would never end", field="format")
        self._tokenizer = tokenizer
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocabulary_size)]
        """The bytes of each token."""
        self._judge = Judge(self.tokens, sorted(tokenizer.eos_ids))
        self._lock = threading.Lock()
        self._schemas: OrderedDict[str, Compiled] = OrderedDict()

    @property
    def cached_bytes(self) -> int:
        """What the compiled schemas that are kept take."""
        return sum(schema.size_bytes for schema in self._schemas.values())

    def compile(self, grammar: str, field: str = "format") -> SchemaConstraint:
        """A constraint at its beginning, for one answer. `grammar` is as in `types.SamplingParams`.

        Raises BadRequest naming `field` for a schema that is broken, too costly, or cannot be held.
        """
        with self._lock:
            found = self._schemas.get(grammar)
        if found is None:
            found = self._compile(grammar, field)
        matcher = self._kept(grammar, found)
        keys = Keys(self._closing) if found.has_free_keys else None
        fault = _fault_of_object if grammar == ANY else partial(self._judge.fault, grammar)
        return SchemaConstraint(matcher, self._tokenizer.vocabulary_size, keys, fault)

    def close(self) -> None:
        """End the process that judges schemas."""
        self._judge.close()

    def _compile(self, schema: str, field: str) -> Compiled:
        if len(schema) > MAX_SCHEMA_CHARACTERS:
            raise BadRequest(f"{field}: the schema is longer than {MAX_SCHEMA_CHARACTERS} characters", field=field)
        try:
            judged = ANY_OBJECT if schema == ANY else self._judge.judge(schema)
            matcher = compiled(self._library, judged.schema, limits())
        except SchemaRefused as refused:
            kind = "pattern" if schema.startswith(PATTERN) else "JSON schema"
            message = f"{field}: this {kind} cannot be used: {refused.reason}"
            raise BadRequest(message, field=field) from None
        return Compiled(matcher, judged.size_bytes, judged.has_free_keys)

    def _kept(self, schema: str, found: Compiled) -> LLMatcher:
        """A matcher of the schema's own, which is kept for the next answer as long as there is room."""
        with self._lock:
            self._schemas[schema] = found
            self._schemas.move_to_end(schema)
            while self.cached_bytes > MAX_CACHED_BYTES:
                self._schemas.popitem(last=False)
            return found.matcher.deep_copy()

    @cached_property
    def _library(self) -> LLTokenizer:
        encode = partial(self._tokenizer.encode, add_special=False)
        return library_tokenizer(self.tokens, sorted(self._tokenizer.eos_ids), encode)

    @cached_property
    def _closing(self) -> ClosingTokens:
        return ClosingTokens(self.tokens)


def _fault_of_object(text: str) -> str | None:
    try:
        return None if isinstance(json.loads(text), dict) else "it is no object"
    except ValueError as error:
        return str(error)
