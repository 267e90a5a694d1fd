"""Speculation: guess an answer's next tokens from the prompt, where the answer seems to quote it.

A guess costs nothing but a few more rows in the runner's `verify`, whose logits are bitwise those of plain decoding;
each token is still sampled from them in order, and the first that differs from the guess ends it. So the tokens are
those of plain decoding, only sooner.
"""

from __future__ import annotations

from collections.abc import Sequence

NGRAM = 3
"""Tokens of the answer that must occur in the prompt before what follows them there is guessed."""
MAX_DRAFT = 6


class Drafter:
    """Guesses for one prompt. Of several places to quote from, the last one counts."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt = tuple(prompt)
        self._after = {self._prompt[i - NGRAM : i]: i for i in range(NGRAM, len(self._prompt))}

    def draft(self, answer: Sequence[int], limit: int) -> tuple[int, ...]:
        """At most `limit` tokens that may follow `answer`; empty where the answer does not quote the prompt."""
        start = self._after.get(tuple(answer[-NGRAM:]))
        return () if start is None else self._prompt[start : start + max(0, min(limit, MAX_DRAFT))]
