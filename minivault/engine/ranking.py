"""Ranking: the most likely tokens of a row, in one canonical order, without sorting the vocabulary.

The order is: higher logit first, equal logits by lower id. Only comparisons and maxima touch the whole row, so a
ranking is exact. NumPy's loops stay on this thread: a row of 49,152 logits is too short to be worth waking others (who,
on a busy machine, may come late).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

COLUMNS = 1024
MAX_LEADING = COLUMNS // 4
"""Up to this many leaders are found by threshold; asking for more sorts the row."""
LOWEST = float(np.finfo(np.float32).min)


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
