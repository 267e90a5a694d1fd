"""Structured output: turns `json` or a JSON schema into a constraint that lets through only tokens that keep to it.

Built on llguidance, which derives the allowed next tokens from the schema while decoding. What the answer is by the
time it ends with `stop` always parses and validates; an answer cut by `length` is the beginning of one that does. The
constraint depends on nothing but the schema and the tokens so far, so constrained answers replay like any other.
Spaces follow commas and colons and stand nowhere else: a model cannot spend its answer on blanks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from minivault.errors import BadRequest, GenerationFailed
from minivault.types import Tokenizer

ANY_OBJECT = '{"type": "object"}'
MAX_SCHEMA_CHARACTERS = 64 * 1024
MAX_CACHED_SCHEMAS = 32
MAX_MESSAGE_CHARACTERS = 200
LAYOUT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": False}
LIMITS = LLParserLimits(initial_lexer_fuel=500_000, max_grammar_size=100_000, max_lexer_states=50_000)
"""Bounds the compilation of a hostile schema to a fraction of a second; a step's bounds are the library's own."""


class GrammarCompiler:
    """Compiles grammars for one tokenizer. Thread-safe; compiled schemas are kept for the next request."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = _library_tokenizer(tokenizer)
        self._lock = threading.Lock()
        self._matchers: OrderedDict[str, LLMatcher] = OrderedDict()

    def compile(self, grammar: str, field: str = "format") -> SchemaConstraint:
        """A constraint at its beginning, for one answer. `grammar` is `json` or a JSON schema as JSON text.

        Raises BadRequest naming `field` for a schema that is broken, unsupported or too large.
        """
        with self._lock:
            matcher = self._matchers.get(grammar)
        if matcher is None:
            matcher = self._compile(grammar, field)
        with self._lock:
            self._matchers[grammar] = matcher
            self._matchers.move_to_end(grammar)
            if len(self._matchers) > MAX_CACHED_SCHEMAS:
                self._matchers.popitem(last=False)
            return SchemaConstraint(matcher.deep_copy(), self._tokenizer.vocab_size)

    def _compile(self, grammar: str, field: str) -> LLMatcher:
        if len(grammar) > MAX_SCHEMA_CHARACTERS:
            raise BadRequest(f"{field}: the schema is longer than {MAX_SCHEMA_CHARACTERS} characters", field=field)
        schema = ANY_OBJECT if grammar == "json" else grammar
        try:
            compiled = LLMatcher.grammar_from_json_schema(schema, overrides=LAYOUT)
        except ValueError as error:
            raise _refusal(str(error), field) from None
        matcher = LLMatcher(self._tokenizer, compiled, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise _refusal(matcher.get_error(), field)
        matcher.compute_bitmask()  # the first mask finds what compilation leaves unsaid, such as an empty language
        if matcher.is_error():
            raise _refusal(matcher.get_error(), field)
        return matcher


class SchemaConstraint:
    """Follows one answer: a `types.Constraint`."""

    def __init__(self, matcher: LLMatcher, vocabulary_size: int) -> None:
        self._matcher = matcher
        self._vocabulary_size = vocabulary_size
        self._bits = np.zeros((vocabulary_size + 31) // 32 * 4, np.uint8)

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits [vocabulary] of tokens that may not come next to -inf, in place."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._ensure_sound()
        allowed = np.unpackbits(self._bits, count=self._vocabulary_size, bitorder="little")
        logits[: self._vocabulary_size][allowed == 0] = -np.inf
        logits[self._vocabulary_size :] = -np.inf

    def accept(self, token_id: int) -> None:
        """Advance by a sampled token."""
        self._matcher.consume_token(token_id)
        self._ensure_sound()

    @property
    def is_complete(self) -> bool:
        """True when the answer so far satisfies the schema and may end here."""
        return self._matcher.is_accepting()

    def _ensure_sound(self) -> None:
        if self._matcher.is_error():
            raise GenerationFailed(f"the schema cannot be followed: {_one_line(self._matcher.get_error())}")


class _Vocabulary:
    """A tokenizer as llguidance asks for it. Special tokens are no text: the library gives them none either."""

    bos_token_id: int | None = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = min(tokenizer.eos_ids)
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocabulary_size)]
        self.special_token_ids: Sequence[int] = [i for i, token in enumerate(self.tokens) if not token]

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special=False)


def _library_tokenizer(tokenizer: Tokenizer) -> LLTokenizer:
    """Takes about 0.1 s for 50,000 tokens. Raises BadRequest when the model has no token that ends an answer."""
    if not tokenizer.eos_ids:
        raise BadRequest("this model has no end-of-text token: structured output would never end", field="format")
    wrapped = TokenizerWrapper(_Vocabulary(tokenizer))
    return LLTokenizer(wrapped, n_vocab=tokenizer.vocabulary_size, eos_token=sorted(tokenizer.eos_ids))


def _refusal(reason: str, field: str) -> BadRequest:
    return BadRequest(f"{field}: this JSON schema cannot be used: {_one_line(reason)}", field=field)


def _one_line(text: str) -> str:
    """What the library says, without the state of its machinery."""
    reason = " ".join(text.partition("<state>")[0].split())[:MAX_MESSAGE_CHARACTERS]
    return "no value satisfies it; does it refer to itself without end?" if reason == "NoExtensionBias" else reason
