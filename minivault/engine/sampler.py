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

What is reduced over a row (sums, products) is reduced row by row on one thread, so that the batch, the number of
threads and the position in the batch cannot change a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from minivault.engine.randomness import uniform
from minivault.engine.ranking import MAX_LEADING, Ids, leaders, ranked
from minivault.errors import GenerationFailed
from minivault.types import Constraint, SamplingParams, TokenLogprob

Row = npt.NDArray[np.float32]


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

    def adjust(self, row: Row) -> None:
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


@torch.inference_mode()
def sample(logits: torch.Tensor, states: Sequence[SamplingState]) -> list[Choice | Exception]:
    """Choose a token for each row of `logits` [rows, vocabulary]; an exception in its place concerns that row alone."""
    if len(logits) != len(states):
        raise ValueError(f"{len(logits)} rows of logits for {len(states)} sequences")
    raw = logits.to("cpu", torch.float32).contiguous()
    with np.errstate(all="ignore"):
        adjusted, failed = _adjusted(raw, states)
        failed = _unusable(adjusted) | failed
        heads = _heads(adjusted, states, failed)
        return [
            failed[i] if i in failed else _choice(adjusted[i], raw[i], state, heads.get(i))
            for i, state in enumerate(states)
        ]


def _adjusted(raw: torch.Tensor, states: Sequence[SamplingState]) -> tuple[torch.Tensor, dict[int, Exception]]:
    """The logits after bias, penalties and constraint; what raised, by row."""
    failed: dict[int, Exception] = {}
    if not any(state.adjusts for state in states):
        return raw, failed
    adjusted = raw.clone()
    for i, state in enumerate(states):
        try:
            state.adjust(adjusted[i].numpy())
        except Exception as error:  # a job's own constraint: whatever it raises ends that job only
            failed[i] = error
    return adjusted, failed


def _unusable(logits: torch.Tensor) -> dict[int, Exception]:
    peaks = logits.amax(-1).numpy()
    rows = np.flatnonzero(~np.isfinite(peaks))
    return {int(i): GenerationFailed(f"no token can be chosen: the highest logit is {peaks[i]}") for i in rows}


def _heads(logits: torch.Tensor, states: Sequence[SamplingState], failed: dict[int, Exception]) -> dict[int, Ids]:
    """The leading tokens of each row that draws and for which MAX_LEADING may be enough."""
    wanted = {i: state.params.top_k or MAX_LEADING for i, state in enumerate(states) if state.params.temperature > 0}
    rows = [i for i, num in wanted.items() if num <= MAX_LEADING and i not in failed]
    if not rows:
        return {}
    part = logits if len(rows) == len(logits) else logits[rows]
    found = leaders(part, max(wanted[i] for i in rows))
    return {i: ids[: wanted[i]] for i, ids in zip(rows, found, strict=True)}


def _choice(row: torch.Tensor, raw: torch.Tensor, state: SamplingState, head: Ids | None) -> Choice:
    params = state.params
    if params.temperature <= 0:
        token_id = int(row.numpy().argmax())
    else:
        token_id = _drawn(row, params, uniform(params.seed or 0, state.num_accepted), head)
    return Choice(token_id, None if params.logprobs is None else logprob(raw, token_id, params.logprobs))


def _drawn(row: torch.Tensor, params: SamplingParams, number: float, head: Ids | None) -> int:
    """Draw from the head where it decides, else from the whole row in order."""
    values = row.numpy()
    if head is not None:
        is_whole = params.top_k > 0 or len(head) < MAX_LEADING
        token_id = _draw(values, head, params, number, None if is_whole else lambda: _mass(values, params.temperature))
        if token_id is not None:
            return token_id
    everything = ranked(row)[: params.top_k or None]
    token_id = _draw(values, everything, params, number, None)
    assert token_id is not None
    return token_id


def _draw(row: Row, ids: Ids, params: SamplingParams, number: float, total: Callable[[], float] | None) -> int | None:
    """Cut `ids` (canonical order) by top-p and min-p and draw from the rest with `number` in [0, 1).

    `total` gives the weight of all tokens when `ids` are only the first of them; None then means: they do not decide.
    """
    weights = np.exp((row[ids].astype(np.float64) - float(row[ids[0]])) / params.temperature)
    cumulated = np.cumsum(weights)
    mass = float(cumulated[-1]) if total is None else total()
    end = len(ids)
    if params.top_p < 1.0:
        end = min(end, int(np.searchsorted(cumulated, params.top_p * mass)) + 1)
    if params.min_p > 0.0:
        end = min(end, int(np.count_nonzero(weights >= params.min_p)))
    end = max(end, 1)
    if total is not None and end == len(ids) and (params.top_p < 1.0 or params.min_p > 0.0):
        return None
    kept = mass if total is not None and end == len(ids) else float(cumulated[end - 1])
    index = int(np.searchsorted(cumulated[:end], number * kept, side="right"))
    if index == end and total is not None and kept == mass:
        return None
    return int(ids[min(index, end - 1)])


def _mass(row: Row, temperature: float) -> float:
    """The summed weight of every token, relative to the first."""
    return float(np.exp((row - row.max()) / np.float32(temperature)).sum(dtype=np.float64))


def logprob(row: torch.Tensor, token_id: int, num_top: int) -> TokenLogprob:
    """Natural-log probabilities of `token_id` and the `num_top` first tokens under the row's softmax."""
    values = row.numpy().astype(np.float64)
    peak = values.max()
    values -= peak + np.log(np.exp(values - peak).sum())
    top = leaders(row[None], num_top)[0]
    return TokenLogprob(token_id, float(values[token_id]), tuple((int(i), float(values[i])) for i in top))


def _keys(tokens: dict[int, int] | dict[int, bool]) -> Ids:
    return np.fromiter(tokens, np.int64, len(tokens))


def _repelled(values: Row, penalty: float) -> Row:
    repelled: Row = np.where(values > 0, values / np.float32(penalty), values * np.float32(penalty))
    return repelled
