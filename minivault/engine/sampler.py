"""Sampler: one token from each row of logits, as a pure function of that row, its parameters, its history and its seed.

The order of operations on a row is fixed: logit bias, repetition penalty, presence and frequency penalties, the
constraint's mask, temperature, top-k, top-p, min-p, draw. The three cuts each keep a prefix of the tokens in canonical
order (higher logit first, equal logits by lower id), and the draw walks that prefix until the cumulated probability
exceeds one uniform number, `uniform(seed, index of the token)`. Temperature 0 takes the first token of the order.

- repetition penalty r (CTRL, arXiv 1909.05858): a token of the prompt or the answer has its logit divided by r if
  positive, else multiplied by r.
- presence and frequency penalties: a token that occurs n > 0 times in the answer loses presence + n * frequency.
- top-k keeps the k first tokens (0 = all); top-p the shortest prefix with at least p of what top-k left; min-p those at
  least min_p times as probable as the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from minivault.engine.drawing import draw
from minivault.engine.randomness import uniform
from minivault.engine.ranking import MAX_LEADING, Ids, Logits, leaders
from minivault.errors import GenerationFailed
from minivault.types import Constraint, SamplingParams, TokenLogprob, TopLogprob


@dataclass(frozen=True, slots=True)
class Choice:
    token_id: int
    logprob: TokenLogprob | None = None


class SamplingState:
    """What one sequence's next choice depends on besides the logits."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int], constraint: Constraint | None = None) -> None:
        self.params = params
        self.constraint = constraint
        self.num_accepted = 0
        self.counts: dict[int, int] = {}
        """How often each token occurs in the answer."""
        self._seen = dict.fromkeys(prompt, True)

    @property
    def adjusts(self) -> bool:
        """True when the logits must be changed before anything is chosen."""
        params = self.params
        penalties = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0
        return bool(params.logit_bias or penalties or self.constraint is not None)

    def accept(self, token_id: int) -> None:
        """Take a token into the history. The constraint's own exceptions pass through."""
        self.num_accepted += 1
        self.counts[token_id] = self.counts.get(token_id, 0) + 1
        self._seen[token_id] = True
        if self.constraint is not None:
            self.constraint.accept(token_id)

    def adjust(self, row: Logits) -> None:
        """Apply bias, penalties and constraint to `row` [vocabulary] in place."""
        for token_id, bias in self.params.logit_bias:
            row[token_id] += bias
        if self.params.repetition_penalty != 1.0:
            ids = _keys(self._seen)
            row[ids] = _repelled(row[ids], self.params.repetition_penalty)
        if self.counts and (self.params.presence_penalty or self.params.frequency_penalty):
            counts = np.fromiter(self.counts.values(), np.float32, len(self.counts))
            row[_keys(self.counts)] -= self.params.presence_penalty + counts * self.params.frequency_penalty
        if self.constraint is not None:
            self.constraint.mask(torch.from_numpy(row))


def sample(logits: torch.Tensor, states: Sequence[SamplingState]) -> list[Choice | Exception]:
    """Choose a token for each row of `logits` [rows, vocabulary]; an exception in its place concerns that row alone."""
    if len(logits) != len(states):
        raise ValueError(f"{len(logits)} rows of logits for {len(states)} sequences")
    raw = logits.to("cpu", torch.float32).contiguous().numpy()
    with np.errstate(all="ignore"):
        adjusted, failed = _adjusted(raw, states)
        heads = _heads(adjusted, states)
        rows = zip(adjusted, raw, states, heads, strict=True)
        return [failed[i] if i in failed else _choice(*row) for i, row in enumerate(rows)]


def _adjusted(raw: Logits, states: Sequence[SamplingState]) -> tuple[Logits, dict[int, Exception]]:
    """The logits after bias, penalties and constraint; what raised, by row."""
    failed: dict[int, Exception] = {}
    if not any(state.adjusts for state in states):
        return raw, failed
    adjusted = raw.copy()
    for i, state in enumerate(states):
        try:
            state.adjust(adjusted[i])
        except Exception as error:  # a job's own constraint: whatever it raises ends that job only
            failed[i] = error
    return adjusted, failed


def _heads(logits: Logits, states: Sequence[SamplingState]) -> list[Ids | None]:
    """The leading tokens of each row that draws, and from which a draw is likely decided."""
    heads: list[Ids | None] = [None] * len(states)
    wanted = {i: state.params.top_k or MAX_LEADING for i, state in enumerate(states) if state.params.temperature > 0}
    usual = [i for i, num in wanted.items() if num <= MAX_LEADING]
    if usual:
        part = logits if len(usual) == len(logits) else logits[usual]
        for i, ids in zip(usual, leaders(part, max(wanted[i] for i in usual)), strict=True):
            heads[i] = ids[: wanted[i]]
    for i in wanted.keys() - set(usual):
        heads[i] = leaders(logits[i : i + 1], wanted[i])[0]
    return heads


def _choice(row: Logits, raw: Logits, state: SamplingState, head: Ids | None) -> Choice | Exception:
    params = state.params
    first = int(head[0]) if head is not None and len(head) else int(row.argmax())
    if not math.isfinite(row[first]):
        return GenerationFailed("no token can be chosen: the highest logit is not a finite number")
    token_id = first if head is None else draw(row, head, params, uniform(params.seed or 0, state.num_accepted))
    return Choice(token_id, None if params.logprobs is None else logprob(raw, token_id, params.logprobs))


def logprob(row: Logits, token_id: int, num_top: int) -> TokenLogprob:
    """Natural-log probabilities of `token_id` and the `num_top` first tokens under the softmax of `row`."""
    values = row.astype(np.float64)
    peak = values.max()
    values -= peak + np.log(np.exp(values - peak).sum())
    top = leaders(row[None], num_top)[0]
    return TokenLogprob(token_id, float(values[token_id]), top=tuple(TopLogprob(int(i), float(values[i])) for i in top))


def _keys(tokens: dict[int, int] | dict[int, bool]) -> Ids:
    return np.fromiter(tokens, np.int64, len(tokens))


def _repelled(values: Logits, penalty: float) -> Logits:
    repelled: Logits = np.where(values > 0, values / np.float32(penalty), values * np.float32(penalty))
    return repelled
