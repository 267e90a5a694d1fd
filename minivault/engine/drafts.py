"""Drafts: what an answer that repeats something probably says next, so that one pass can give several of its tokens.

A token is a function of the logits before it, the seed and its place, and a row's logits do not depend on the other
rows. So whoever guesses the next tokens can have them all processed at once, and keeps those that are then sampled: the
answer is the same to the last bit, only sooner. The guess is what came after the same tokens before, in the prompt or
in the answer (prompt lookup decoding; Leviathan, Kalman, Matias: "Fast Inference from Transformers via Speculative
Decoding", 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

NGRAM = 3
"""So many tokens have to have been there before."""
FIRST = 3
"""Length of a first guess; one that was right makes the next longer, one that was wrong shorter."""
MAX_REST = 64
"""Most tokens without a guess, after guesses that were all wrong."""


class Drafts:
    """The guesses of one sequence. `num_drafted` and `num_right` count tokens."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self.num_drafted = self.num_right = 0
        self.known: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        """What came last after each run of NGRAM tokens."""
        self._guess: list[int] = []
        self._length, self._rest, self._num_wrong = FIRST, 0, 0
        self.see(tokens)

    def see(self, tokens: Sequence[int]) -> None:
        """Take what the sequence says, in order, and learn from it how good the guess was."""
        if self._guess and tokens:
            self._judge(tokens)
        known = self.known
        for token in tokens:
            if len(known) >= NGRAM:
                self._places[tuple(known[-NGRAM:])] = len(known)
            known.append(token)

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next; none where nothing tells, or guesses have been wrong too often."""
        self._rest -= 1
        place = self._places.get(tuple(self.known[-NGRAM:]))
        if place is None or self._rest >= 0:
            return []
        period = len(self.known) - place
        length = min(most, self._length)
        self._guess = [self.known[place + at % period] for at in range(length)]
        self.num_drafted += length
        return self._guess

    def _judge(self, tokens: Sequence[int]) -> None:
        guess, self._guess = self._guess, []
        num_right = next((at for at, pair in enumerate(zip(guess, tokens, strict=False)) if pair[0] != pair[1]),
                         min(len(guess), len(tokens)))  # fmt: skip
        self.num_right += num_right
        self._length = 2 * len(guess) + 1 if num_right == len(guess) else max(1, num_right)
        self._num_wrong = 0 if num_right else self._num_wrong + 1
        self._rest = 0 if num_right else min(MAX_REST, 1 << self._num_wrong)
