"""Drawing: temperature, top-p, min-p and one uniform number pick a token from a ranked row.

Both cuts and the draw walk the tokens from the most likely one down, so they usually need a short beginning of the
ranking only: what the rest weighs together is enough to know that the beginning decides. Where it does not, more of
the row is ranked. Every reduction is over one row on one thread: no company and no thread count changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from minivault.engine.ranking import LOWEST, Ids, Logits, ranked
from minivault.types import SamplingParams

Weights = npt.NDArray[np.float64]

_WIDENING = (2.0, 4.0, 8.0)
"""How much lower, in units of temperature, the ranking reaches each time that it was too short."""


def draw(row: Logits, head: Ids, params: SamplingParams, number: float) -> int:
    """The token that `number` in [0, 1) picks from `row` [vocabulary].

    `head` is the beginning of the row's canonical order, at least one token: with top-k, all that top-k keeps.
    """
    if not params.top_k:
        mass = float(np.exp((row - row[head[0]]) / np.float32(params.temperature)).sum(dtype=np.float64))
        for ids in _beginnings(row, head, params.temperature):
            weights = _weights(row, ids, params.temperature)
            index = _index(weights, max(0.0, mass - float(weights.sum())), params, number)
            if index is not None:
                return int(ids[index])
        head = ranked(row)
    index = _index(_weights(row, head, params.temperature), 0.0, params, number)
    assert index is not None, "all tokens together always decide"
    return int(head[index])


def _beginnings(row: Logits, head: Ids, temperature: float) -> Iterator[Ids]:
    yield head
    lowest = float(row[head[-1]])
    for spread in _WIDENING:
        yield ranked(row, max(LOWEST, lowest - spread * temperature))


def _weights(row: Logits, ids: Ids, temperature: float) -> Weights:
    """exp(logit / temperature) of `ids`, relative to the first of them."""
    weights: Weights = np.exp((row[ids].astype(np.float64) - float(row[ids[0]])) / temperature)
    return weights


def _index(weights: Weights, rest: float, params: SamplingParams, number: float) -> int | None:
    """Which of `weights` (falling) is drawn, when all that follows them weighs `rest`; None if those decide it."""
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
    return index if index < num else None
