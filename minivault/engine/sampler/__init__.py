"""Sampler: one token from each row of logits, as a pure function of that row, its parameters, its history and its seed.

The order of operations on a row is fixed: logit bias, repetition penalty, presence and frequency penalties, the
constraint's mask, that of the least length, temperature, top-k, top-p, min-p, draw. The three cuts each keep a prefix
of the tokens in canonical order (higher logit first, equal logits by lower id). Of what they keep, the token with the
highest score is drawn: logit / temperature plus Gumbel noise (Maddison, Tarlow, Minka: "A* Sampling", 2014) from a
number that belongs to (seed, index in the answer, token id) alone. So a small change of the logits changes a token only
where two scores nearly tie, and none after it. Temperature 0 takes the first token of the order. Where answers are
marked, the number belongs to (key, the tokens before it, token id) instead: `minivault.watermark`.

- repetition penalty r (CTRL, arXiv 1909.05858): a token of the prompt or the answer has its logit divided by r if
  positive, else multiplied by r.
- presence and frequency penalties: a token that occurs n > 0 times in the answer loses presence + n * frequency.
- top-k keeps the k first tokens (0 = all); top-p the shortest prefix with at least p of what top-k left; min-p those at
  least min_p times as probable as the first.

`docs/sampling.md` states it exactly, in NumPy: the same bits on any CPU, with any company. Compiled code is imported at
the first draw, so that whoever draws nothing does without numba.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minivault.errors import GenerationFailed
from minivault.types import Constraint, SamplingParams, TokenLogprob, TopLogprob
from minivault.watermark import Contexts, Mark, lane_of, purpose_of

__all__ = [
    "VERSION",
    "Choice",
    "Judged",
    "Logits",
    "SamplingState",
    "judge",
    "load",
    "logprob",
    "logprobs_of",
    "sample",
]

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

VERSION = "gumbel-philox-1"
"""Of the arithmetic: whoever lets any row, parameters and seed give another token changes it."""
ANSWER = 0
"""The purpose of the numbers that answers are drawn with; others are free for other uses of a key."""
_HALF = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Choice:
    token_id: int
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A token of an answer that is known, beside the one that is `drawn` here: see `distance`."""

    drawn: int
    distance: float
    is_forced: bool
    """No other token might have come."""


class SamplingState:
    """What one sequence's next choice depends on besides the logits."""

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        constraint: Constraint | None = None,
        ends: Collection[int] = (),
        mark: Mark | None = None,
    ) -> None:
        """`ends` are the tokens that end the answer, which `min_tokens` keeps back; `mark` is what it is marked by."""
        self.params = params
        self.constraint = constraint
        self.num_accepted = 0
        self.counts: dict[int, int] = {}
        """How often each token occurs in the answer."""
        self._seen = dict.fromkeys(prompt, True)
        penalties = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0
        self._ends = np.array(sorted(ends), np.int64)
        self.adjusts = bool(params.logit_bias or penalties or params.min_tokens or constraint is not None)
        """The logits must be changed before anything is chosen."""
        seed = params.seed or 0
        self._cuts = float(params.temperature), params.top_k, float(params.top_p), float(params.min_p)
        self._key = seed & _HALF, seed >> 32 & _HALF
        self._mark, self._contexts = mark, None if mark is None else Contexts()
        self._purpose = purpose_of(lane_of(seed))

    def drawing(self) -> tuple[float, int, float, float, int, int, int, int]:
        """What the next draw takes besides the row: temperature and cuts, and where its numbers come from (the two
        halves of a key, the position, the purpose: `philox.Stream`)."""
        if self._mark is not None and self._contexts is not None and (context := self._contexts.fresh) is not None:
            return *self._cuts, *self._mark.words(context), self._purpose
        return *self._cuts, *self._key, self.num_accepted, ANSWER

    def accept(self, token_id: int) -> None:
        """Take a token into the history. The constraint's own exceptions pass through."""
        self.num_accepted += 1
        self.counts[token_id] = self.counts.get(token_id, 0) + 1
        self._seen[token_id] = True
        if self._contexts is not None:
            self._contexts.accept(token_id)
        if self.constraint is not None:
            self.constraint.accept(token_id)

    def adjust(self, row: Logits) -> None:
        """Apply bias, penalties, constraint and least length to `row` [vocabulary] in place."""
        for token_id, bias in self.params.logit_bias:
            row[token_id] += bias
        if self.params.repetition_penalty != 1.0:
            ids = _keys(self._seen)
            row[ids] = _repelled(row[ids], self.params.repetition_penalty)
        if self.counts and (self.params.presence_penalty or self.params.frequency_penalty):
            counts = np.fromiter(self.counts.values(), np.float32, len(self.counts))
            row[_keys(self.counts)] -= self.params.presence_penalty + counts * self.params.frequency_penalty
        if self.constraint is not None:
            self.constraint.mask(row)
        if self.num_accepted < self.params.min_tokens:
            row[self._ends] = -np.inf


@cache
def _compiled() -> tuple[Callable[..., int], Callable[..., tuple[float, Ids]]]:
    """What draws a token from a row, and what measures a row."""
    from minivault.engine.sampler import draw

    return draw.compiled_choose(), draw.compiled_measure()


def load(cache_dir: Path) -> None:
    """Have the compiled code ready before anybody waits for it. Where nothing can be written beside the bytecode, it is
    kept in `cache_dir`."""
    from minivault.engine.sampler import draw

    draw.keep_otherwise_in(cache_dir)
    _compiled()


def sample(logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]:
    """Choose a token for each row of `logits` [rows, vocabulary]; an exception in its place concerns that row alone."""
    logits = np.ascontiguousarray(logits, np.float32)
    with np.errstate(all="ignore"):
        return [_choose(row, state) for row, state in zip(logits, states, strict=True)]


def _choose(raw: Logits, state: SamplingState) -> Choice | Exception:
    params, row = state.params, raw
    try:
        if state.adjusts:
            state.adjust(row := raw.copy())
        token_id = int(row.argmax()) if params.temperature <= 0 else _compiled()[0](row, *state.drawing())
        if token_id < 0 or not math.isfinite(row[token_id]):
            return GenerationFailed("no token can be chosen: the highest logit is not a finite number")
        return Choice(token_id, None if params.logprobs is None else logprob(raw, token_id, params.logprobs))
    except Exception as error:  # a job's own constraint: whatever it raises ends that job only
        return error


def judge(raw: Logits, token_id: int, state: SamplingState) -> Judged:
    """What would have been drawn from `raw` [vocabulary], and how far that is from `token_id`. Raises what makes that
    no token can be chosen."""
    from minivault.engine.sampler.distance import distance

    raw = np.ascontiguousarray(raw, np.float32)
    with np.errstate(all="ignore"):
        choice, row = _choose(raw, state), raw
        if isinstance(choice, Exception):
            raise choice
        if state.adjusts:
            state.adjust(row := raw.copy())
        is_forced = state.adjusts and int(np.isfinite(row).sum()) == 1
        if choice.token_id == token_id:
            return Judged(token_id, 0.0, is_forced)
        return Judged(choice.token_id, distance(row, token_id, *state.drawing()), is_forced)


def logprob(row: Logits, token_id: int, num_top: int) -> TokenLogprob:
    """Natural-log probabilities of `token_id` and the `num_top` first tokens under the softmax of `row`; NaN where the
    row is not finite."""
    row = np.ascontiguousarray(row, np.float32)
    normalizer, ids = _compiled()[1](row, num_top)
    first = ids[(-row[ids]).argsort(kind="stable")][:num_top].tolist()
    top = tuple(TopLogprob(i, float(row[i]) - normalizer) for i in first)
    logit = row[token_id]
    rank = 1 + int(np.count_nonzero(row > logit)) + int(np.count_nonzero(row[:token_id] == logit))
    return TokenLogprob(token_id, float(logit) - normalizer, top=top, rank=rank)


def logprobs_of(row: Logits, token_ids: Sequence[int]) -> tuple[TokenLogprob, ...]:
    """Natural-log probabilities of given tokens under the softmax of `row`. Raises GenerationFailed for one that is not
    finite."""
    row = np.ascontiguousarray(row, np.float32)
    normalizer, _ = _compiled()[1](row, 0)
    found = tuple(TokenLogprob(token_id, float(row[token_id]) - normalizer) for token_id in token_ids)
    if not all(math.isfinite(entry.logprob) for entry in found):
        raise GenerationFailed("a token cannot be measured: its logit is not a finite number")
    return found


def _keys(tokens: dict[int, int] | dict[int, bool]) -> Ids:
    return np.fromiter(tokens, np.int64, len(tokens))


def _repelled(values: Logits, penalty: float) -> Logits:
    repelled: Logits = np.where(values > 0, values / np.float32(penalty), values * np.float32(penalty))
    return repelled
