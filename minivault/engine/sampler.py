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

A ranking is exact: only comparisons and maxima touch the whole row, and the vocabulary is not sorted. Both cuts and the
draw walk the tokens from the most likely one down, so they usually need a short beginning of the
ranking only: what the rest weighs together is enough to know that the beginning decides. Where it does not, more of the
row is ranked. Every reduction is over one row on one thread: no company and no thread count changes a bit of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minivault.errors import GenerationFailed
from minivault.types import Constraint, SamplingParams, TokenLogprob, TopLogprob

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

COLUMNS = 1024
MAX_LEADING = COLUMNS // 4
"""Up to this many leaders are found by threshold; asking for more sorts the row."""
LOWEST = float(np.finfo(np.float32).min)
_WIDENING = (2.0, 4.0, 8.0)
"""How much lower, in units of temperature, the ranking reaches each time that it was too short."""
_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


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
        penalties = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0
        self.adjusts = bool(params.logit_bias or penalties or constraint is not None)
        """The logits must be changed before anything is chosen."""

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
            self.constraint.mask(row)


def sample(logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]:
    """Choose a token for each row of `logits` [rows, vocabulary]; an exception in its place concerns that row alone."""
    with np.errstate(all="ignore"):
        return [_choose(row, state) for row, state in zip(logits, states, strict=True)]


def _choose(raw: Logits, state: SamplingState) -> Choice | Exception:
    params, row = state.params, raw
    draws = params.temperature > 0
    try:
        if state.adjusts:
            state.adjust(row := raw.copy())
        head = leaders(row, params.top_k or MAX_LEADING) if draws else row.argmax(0, keepdims=True)
        if not len(head) or not math.isfinite(row[head[0]]):
            return GenerationFailed("no token can be chosen: the highest logit is not a finite number")
        number = uniform(params.seed or 0, state.num_accepted)
        token_id = draw(row, head, params, number) if draws else int(head[0])
        return Choice(token_id, None if params.logprobs is None else logprob(raw, token_id, params.logprobs))
    except Exception as error:  # a job's own constraint: whatever it raises ends that job only
        return error


def draw(row: Logits, head: Ids, params: SamplingParams, number: float) -> int:
    """The token that `number` in [0, 1) picks from `row` [vocabulary].

    `head` is the beginning of the row's canonical order, at least one token: with top-k, all that top-k keeps.
    """
    if not params.top_k:
        mass = float(np.exp((row - row[head[0]]) / np.float32(params.temperature)).sum(dtype=np.float64))
        for ids in _beginnings(row, head, params.temperature):
            if (token_id := _pick(row, ids, mass, params, number)) is not None:
                return token_id
        head = ranked(row, LOWEST)
    token_id = _pick(row, head, 0.0, params, number)
    assert token_id is not None, "all tokens together always decide"
    return token_id


def _beginnings(row: Logits, head: Ids, temperature: float) -> Iterator[Ids]:
    yield head
    lowest = float(row[head[-1]])
    for spread in _WIDENING:
        yield ranked(row, max(LOWEST, lowest - spread * temperature))


def _pick(row: Logits, ids: Ids, mass: float, params: SamplingParams, number: float) -> int | None:
    """Which of `ids`, the beginning of the order, is drawn when the whole row weighs `mass` (0: `ids` are all that
    counts); None if they do not decide it. Weights are exp(logit / temperature), relative to the first."""
    weights = np.exp((row[ids].astype(np.float64) - float(row[ids[0]])) / params.temperature)
    rest = max(0.0, mass - float(weights.sum())) if mass else 0.0
    num = len(weights)
    cumulated = np.empty(num + 1)
    weights.cumsum(out=cumulated[:num])
    cumulated[num] = cumulated[num - 1] + rest
    end = num + 1
    if params.top_p < 1.0:
        end = int(cumulated.searchsorted(params.top_p * cumulated[num])) + 1
    if params.min_p > 0.0 and weights[-1] < params.min_p:
        end = max(1, min(end, int(np.count_nonzero(weights >= params.min_p))))
    if rest == 0.0:
        end = min(end, num)
    elif end > num and (params.top_p < 1.0 or params.min_p > 0.0):
        return None
    index = min(int(cumulated[:end].searchsorted(number * cumulated[end - 1], side="right")), end - 1)
    return int(ids[index]) if index < num else None


def uniform(seed: int, index: int) -> float:
    """The `index`-th number of the stream of `seed`: in [0, 1), 53 random bits, the same on any machine. Seeds are
    taken modulo 2**64.

    SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014) in counter form: the
    state after n steps is the start plus n times a constant, so no state is kept at all. The start is mixed first.
    """
    bits = 0
    for step in (seed, (index + 1) * _GAMMA):
        bits = bits + step & _MASK
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _MASK
        bits ^= bits >> 31
    return (bits >> 11) * 2.0**-53


def logprob(row: Logits, token_id: int, num_top: int) -> TokenLogprob:
    """Natural-log probabilities of `token_id` and the `num_top` first tokens under the softmax of `row`."""
    values = row.astype(np.float64)
    peak = values.max()
    values -= peak + np.log(np.exp(values - peak).sum())
    top = tuple(TopLogprob(int(i), float(values[i])) for i in leaders(row, num_top))
    return TokenLogprob(token_id, float(values[token_id]), top=top)


def _keys(tokens: dict[int, int] | dict[int, bool]) -> Ids:
    return np.fromiter(tokens, np.int64, len(tokens))


def _repelled(values: Logits, penalty: float) -> Logits:
    repelled: Logits = np.where(values > 0, values / np.float32(penalty), values * np.float32(penalty))
    return repelled


# -- ranking -------------------------------------------------------------------------------------------------------


def leaders(row: Logits, num: int) -> Ids:
    """The `num` first ids of a row [vocabulary] in canonical order.

    Fewer come back where fewer are above -inf; none where the highest logit is not a finite number.
    """
    if num > MAX_LEADING or len(row) < 4 * COLUMNS:
        return ranked(row, LOWEST if math.isfinite(row.max()) else np.nan)[:num]
    return ranked(row, _threshold(row, num))[:num]


def ranked(row: Logits, threshold: float) -> Ids:
    """Every id of a row whose logit is at least `threshold`, in canonical order."""
    ids = (row >= threshold).nonzero()[0]
    return ids[(-row[ids]).argsort(kind="stable")]


def _threshold(row: Logits, num: int) -> float:
    """A value that at least `num` of the row's logits reach: the `num`-th largest of COLUMNS column maxima.

    NaN, which nothing reaches, where the highest logit is not finite.
    """
    num_folded = len(row) // COLUMNS * COLUMNS
    maxima = row[:num_folded].reshape(-1, COLUMNS).max(0)
    if not math.isfinite(np.maximum(maxima.max(), row[num_folded:].max(initial=-np.inf))):
        return np.nan
    return max(LOWEST, float(np.partition(maxima, COLUMNS - num)[COLUMNS - num])) if num else np.inf
