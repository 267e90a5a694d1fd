"""PromptScores: how likely each token of a prompt is, given those before it, as that becomes known.

A token's score comes from the logits after the token before it, which are reduced at once: no more rows than a step
computes are ever held. It depends on the tokens up to its own alone, so scores of a block can be kept beside its keys
and values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from minivault.engine.sampler import Logits, logprob
from minivault.errors import GenerationFailed
from minivault.types import TokenLogprob

Scores = tuple[TokenLogprob, ...]
"""Of consecutive tokens of a prompt."""


class PromptScores:
    """The scores of one prompt, each with the `num_top` most likely tokens in its place."""

    def __init__(self, prompt: Sequence[int], num_top: int) -> None:
        self._prompt = prompt
        self._num_top = num_top
        self.known = [TokenLogprob(prompt[0], 0.0)]
        """From the first token on, which is taken as given."""

    def read(self, position: int, rows: Logits) -> None:
        """Take logits [rows, vocabulary] after the tokens from `position` on. Raises GenerationFailed where they are
        not numbers."""
        for place, row in enumerate(rows, position + 1):
            if len(self.known) == place < len(self._prompt):
                score = logprob(row, self._prompt[place], self._num_top)
                if math.isnan(score.logprob):
                    raise GenerationFailed("the prompt cannot be scored: a logit is not a finite number")
                self.known.append(score)

    def take(self, start: int, scores: Scores) -> None:
        """Take scores, which `suffice`, of the tokens from position `start` on."""
        for place, score in enumerate(scores, start):
            if len(self.known) == place:
                self.known.append(replace(score, top=score.top[: self._num_top]))

    def suffice(self, scores: Scores | None) -> bool:
        """Whether scores of another request say as much as is wanted here."""
        return scores is not None and len(scores[-1].top) >= self._num_top

    def of(self, start: int, stop: int) -> Scores:
        """Those of positions [start, stop), which are known."""
        return tuple(self.known[start:stop])
