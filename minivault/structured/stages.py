"""Constraints that hold for a part of an answer: after its thought, inside a call, around a call.

Each is a `types.Constraint` that depends on nothing but its parameters and the tokens so far, so answers replay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivault.structured.constraint import SchemaConstraint
from minivault.talk.pieces import overlap
from minivault.types import Constraint, Thought

Logits = NDArray[np.float32]


def allow_only(logits: Logits, token_id: int) -> None:
    """Leave a row [vocabulary] with one token that may come."""
    kept = logits[token_id]
    logits[:] = -np.inf
    logits[token_id] = kept if np.isfinite(kept) else 0.0


class AfterThought:
    """A thought of at most `budget` tokens, which `ending` ends, and then an answer that keeps to `inner`.

    `opening` is the token with which the answer may begin to think, None where it may not or does already."""

    def __init__(
        self,
        thought: Thought,
        inner: Constraint | None,
        *,
        budget: int | None,
        ending: Sequence[int],
        opening: int | None,
        eos_ids: Collection[int],
    ) -> None:
        self._thought, self._inner, self._budget, self._opening = thought, inner, budget, opening
        self._ending, self._ends = list(ending), list(eos_ids)
        self._forced: list[int] = []
        self._num_thought = 0

    @property
    def has_to_parse(self) -> bool:
        return self._inner is not None and self._inner.has_to_parse

    def mask(self, logits: Logits) -> None:
        """Set the logits [vocabulary] of tokens that may not come next to -inf, in place."""
        if self._is_spent and not self._forced:
            self._forced = self._ending.copy()
        if self._forced:
            allow_only(logits, self._forced[0])
        elif self._thought.is_open:
            if self._inner is not None:
                logits[self._ends] = -np.inf  # what must parse cannot end in its thought
        elif self._inner is not None:
            kept = None if self._opening is None else logits[self._opening]
            self._inner.mask(logits)
            if kept is not None:
                logits[self._opening] = kept

    def accept(self, token_id: int) -> None:
        """Advance by a sampled token; the thought does not know it yet."""
        if self._forced:
            del self._forced[0]
        elif self._thought.is_open:
            self._num_thought += 1
        elif self._inner is not None and token_id != self._opening:
            self._inner.accept(token_id)
        self._opening = None

    def fault(self, text: str) -> str | None:
        """Where a whole answer, without its thought, breaks what it was to keep to; None when it does not."""
        return None if self._inner is None else self._inner.fault(text)

    @property
    def _is_spent(self) -> bool:
        return self._budget is not None and self._thought.is_open and self._num_thought >= self._budget


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the JSON of a call, as text and as the tokens that spell it."""

    before: str
    after: str
    before_tokens: tuple[int, ...]
    after_tokens: tuple[int, ...]


class Framed:
    """An answer that is what a frame holds: what comes before, JSON that keeps to `inner`, what comes after."""

    has_to_parse = True

    def __init__(self, frame: Frame, inner: SchemaConstraint) -> None:
        self._frame, self._inner = frame, inner
        self._before, self._after = list(frame.before_tokens), list(frame.after_tokens)

    def mask(self, logits: Logits) -> None:
        """Set the logits [vocabulary] of tokens that may not come next to -inf, in place."""
        if self._before:
            allow_only(logits, self._before[0])
        elif self._inner.is_complete and self._after:
            allow_only(logits, self._after[0])
        else:
            self._inner.mask(logits)

    def accept(self, token_id: int) -> None:
        """Advance by a sampled token."""
        if self._before:
            del self._before[0]
        elif self._inner.is_complete and self._after:
            del self._after[0]
        else:
            self._inner.accept(token_id)

    def fault(self, text: str) -> str | None:
        """Where a whole answer breaks what it was to keep to; None when it does not."""
        inside = text.removeprefix(self._frame.before).removesuffix(self._frame.after)
        return self._inner.fault(inside)


class WhereCalled:
    """An answer that is free, but what it writes inside of a frame keeps to a schema. A frame without a beginning is
    entered where the answer itself begins with `{`.

    `begin` gives a constraint at its beginning, `tokens` are the bytes of each token."""

    has_to_parse = False

    def __init__(
        self, frame: Frame, opening: bytes, begin: Callable[[], SchemaConstraint], tokens: Sequence[bytes]
    ) -> None:
        """`frame` without `opening`, which is how a call begins: the model writes that of its own accord."""
        self._frame, self._opening, self._begin, self._tokens = frame, opening, begin, tokens
        self._said = b""
        self._crossing: dict[bytes, list[int]] = {}
        self._forced: list[int] = []
        self._inner: SchemaConstraint | None = None

    def mask(self, logits: Logits) -> None:
        """Set the logits [vocabulary] of tokens that may not come next to -inf, in place."""
        if self._forced:
            allow_only(logits, self._forced[0])
        elif self._inner is not None:
            self._inner.mask(logits)
        elif self._opening:
            logits[self._crossing_tokens()] = -np.inf
        elif not self._said.strip():
            held = logits.copy()
            self._begin().mask(held)
            braces = [index for index, token in enumerate(self._tokens) if token.lstrip()[:1] == b"{"]
            logits[braces] = held[braces]

    def accept(self, token_id: int) -> None:
        """Advance by a sampled token."""
        if self._forced:
            del self._forced[0]
        elif self._inner is not None:
            self._take(token_id)
        else:
            self._said += self._tokens[token_id]
            if not self._opening and self._said.lstrip()[:1] == b"{":
                self._inner = self._begin()
                self._take(token_id)
            elif self._opening and self._said.endswith(self._opening):
                self._forced, self._inner = list(self._frame.before_tokens), self._begin()
            self._said = self._said[-64:]

    def fault(self, _text: str) -> str | None:
        """Nothing: an answer need not call, and a call could not break its schema."""
        return None

    def _take(self, token_id: int) -> None:
        assert self._inner is not None
        self._inner.accept(token_id)
        if self._inner.is_complete:
            self._inner, self._forced = None, list(self._frame.after_tokens)

    def _crossing_tokens(self) -> list[int]:
        """Tokens that end the opening and go on: where a call begins would be inside of them."""
        said, opening = self._said.decode("latin-1"), self._opening.decode("latin-1")
        missing = self._opening[overlap(said, opening) :]
        if missing not in self._crossing:
            found = [i for i, token in enumerate(self._tokens) if missing in token and not token.endswith(missing)]
            self._crossing[missing] = found
        return self._crossing[missing]
