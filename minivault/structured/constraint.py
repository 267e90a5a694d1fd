"""SchemaConstraint: follows one answer and lets through only tokens that keep to its schema."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from minivault.errors import GenerationFailed
from minivault.structured.keys import Keys


class SchemaConstraint:
    """A `types.Constraint`. It depends on nothing but the schema and the tokens so far, so answers replay. `keys` is
    None where the schema itself names which keys there may be."""

    def __init__(
        self, matcher: LLMatcher, vocabulary_size: int, keys: Keys | None, fault: Callable[[str], str | None]
    ) -> None:
        self._matcher = matcher
        self._vocabulary_size = vocabulary_size
        self._keys = keys
        self._bits = np.zeros((vocabulary_size + 31) // 32 * 4, np.uint8)
        self._fault = fault
        self.has_to_parse = True

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits [vocabulary] of tokens that may not come next to -inf, in place."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._ensure_sound()
        allowed = np.unpackbits(self._bits, count=self._vocabulary_size, bitorder="little")
        if self._keys is not None and (repeating := list(self._keys.repeating(allowed))):
            allowed[repeating] = 0
        logits[: self._vocabulary_size][allowed == 0] = -np.inf
        logits[self._vocabulary_size :] = -np.inf

    def accept(self, token_id: int) -> None:
        """Advance by a sampled token."""
        self._matcher.consume_token(token_id)
        self._ensure_sound()
        if self._keys is not None:
            self._keys.accept(token_id)

    def fault(self, text: str) -> str | None:
        """Where a whole answer breaks the schema; None when it satisfies it."""
        return self._fault(text)

    @property
    def is_complete(self) -> bool:
        """True when the answer so far satisfies the schema and may end here."""
        return self._matcher.is_accepting()

    def _ensure_sound(self) -> None:
        if self._matcher.is_error():
            raise GenerationFailed("the answer came to where its schema is too complex to follow; simplify the schema")
