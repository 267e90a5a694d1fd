"""Judging: an answer that is known is processed like a prompt, and each token compared with what would be drawn.

The logits after a token are reduced at once, as those of a scored prompt are. The history that the next draw depends on
(penalties, grammar, thoughts, stop strings) is that of the known answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from minivault.engine.sampler import Judged, Logits, SamplingState, judge
from minivault.types import FinishReason, Judgement


class History(Protocol):
    """What an answer's next token depends on, and where the answer ends."""

    sampling: SamplingState
    ending: FinishReason | Exception | None

    def append(self, token_id: int) -> str: ...

    def end(self, reason: FinishReason | Exception) -> None: ...


class Judging:
    """Of one answer, after `num_prompt` tokens of prompt."""

    def __init__(self, history: History, answer: Sequence[int], num_prompt: int) -> None:
        self._history, self._answer, self._num_prompt = history, answer, num_prompt
        self._judged: list[Judged] = []
        self._ending: FinishReason | None = None
        self.text = ""
        """What the tokens so far say, as far as it is certain."""

    def read(self, position: int, rows: Logits) -> None:
        """Take logits [rows, vocabulary] after the tokens from `position` on; what was taken before is passed over."""
        for place, row in enumerate(rows, position + 1 - self._num_prompt):
            if place == len(self._judged) < len(self._answer) and self._history.ending is None:
                try:
                    self._take(row, self._answer[place])
                except Exception as error:  # the job's own constraint
                    self._history.end(error)

    def _take(self, row: Logits, token_id: int) -> None:
        self._judged.append(judged := judge(row, token_id, self._history.sampling))
        if math.isinf(judged.distance):  # a history with it leads nowhere
            self._history.end("error")
            return
        self.text += self._history.append(token_id)
        if not isinstance(self._history.ending, Exception):
            self._ending = self._history.ending

    def judgement(self) -> Judgement:
        """Of all that was read."""
        return Judgement(
            tuple(judged.drawn for judged in self._judged),
            tuple(judged.distance for judged in self._judged),
            sum(judged.is_forced for judged in self._judged),
            self._ending,
        )
