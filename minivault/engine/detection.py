"""Whether tokens carry a mark, from them and the key alone: how improbable their numbers are for a text that is not.

A token that was drawn by a mark tends to have a high number u; one that was not has any. For each of n tokens in a
context that stands there for the first time, -log(1 - u) is then exponential and independent of the others, whatever
the text, since no (key, context, token) is asked for twice; so their sum is Gamma(n, 1), and its tail a p-value
(Aaronson, 2022; Fernandez et al.: "Three Bricks to Consolidate Watermarks for LLMs", arXiv 2308.00113). Of all
lanes the least counts, by what the least of so many independent ones is worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from minivault.engine.sampler.philox import Stream, numbers_of
from minivault.watermark import LANES, Context, Mark, marked, purpose_of


@dataclass(frozen=True, slots=True)
class Detection:
    """What tokens say of a mark. Of texts that have nothing to do with the key, one in 1 / p_value looks like it."""

    num_tokens: int
    num_counted: int
    """Those in contexts that stand there for the first time; the first ones have none."""
    score: float
    """Sum of -log(1 - u) in the lane where it is highest; not far above `num_counted` where there is no mark."""
    lane: int | None
    """That lane; None where nothing is counted."""
    p_value: float
    log10_p: float
    """Of a `p_value` that is too small for a float, too."""

    @property
    def told(self) -> dict[str, float | None]:
        """As it is shown."""
        return {**asdict(self), "score": round(self.score, 6), "log10_p": round(self.log10_p, 3)}


def detect(mark: Mark, token_ids: Sequence[int]) -> Detection:
    """Look for a mark in a text's tokens, ids below 2**32."""
    counted = list(marked(token_ids))
    if not counted:
        return Detection(len(token_ids), 0, 0.0, None, 1.0, 0.0)
    scores = -np.log1p(-uniforms(mark, counted)).sum(axis=1)
    lane = int(scores.argmax())
    score = float(scores[lane])
    log_p = log_least_of(LANES, log_tail(len(counted), score))
    return Detection(len(token_ids), len(counted), score, lane, math.exp(log_p), log_p / math.log(10))


def uniforms(mark: Mark, counted: Sequence[tuple[Context, int]]) -> NDArray[np.float64]:
    """The number between 0 and 1 of each (context, token) in each lane: [lanes, tokens]."""
    low, high, position = np.array([mark.words(context) for context, _ in counted], np.uint64).T
    token_ids = np.array([token_id for _, token_id in counted], np.int64)
    found = np.empty((LANES, len(counted)))
    for lane in range(LANES):
        found[lane] = numbers_of(Stream(low, high, position, purpose_of(lane)), token_ids)
    return (found + 0.5) / 2.0**32


def log_least_of(num: int, log_p: float) -> float:
    """The logarithm of the probability that the least of `num` independent p-values is this or less (Sidak)."""
    p = math.exp(log_p)
    return log_p + math.log(num) if p < 1e-12 else math.log(-math.expm1(num * math.log1p(-min(p, 1 - 1e-16))))


def log_tail(num: int, score: float) -> float:
    """The natural logarithm of the probability that a Gamma(num, 1) is `score` or more: that of a Poisson(score) to be
    below `num`, exp(-score) times the sum of score**k / k!."""
    k = np.arange(num)
    log_factorials = np.concatenate([[0.0], np.log(k[1:]).cumsum()])
    terms = k * math.log(score) - log_factorials - score
    most = float(terms.max())
    return min(0.0, most + math.log(float(np.exp(terms - most).sum())))
