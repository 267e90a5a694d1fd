"""Ranking: the most likely tokens of each row, in one canonical order, without sorting the vocabulary.

The order is: higher logit first, equal logits by lower id. Only comparisons and maxima touch the whole row, so a row's
ranking is exact and cannot depend on the rows beside it. NumPy, not torch: its loops stay on this thread, and a row of
49,152 logits is too short to be worth waking others (who, on a busy machine, may come late).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

COLUMNS = 1024
MAX_LEADING = COLUMNS // 4
"""Up to this many leaders are found by threshold; asking for more sorts the row."""
LOWEST = float(np.finfo(np.float32).min)


def leaders(logits: Logits, num: int) -> list[Ids]:
    """For each row of `logits` [rows, vocabulary] the `num` first ids in canonical order.

    Fewer come back where fewer are above -inf; none where the highest logit is not a finite number.
    """
    if num > MAX_LEADING or logits.shape[1] < 4 * COLUMNS:
        return [ranked(row)[:num] for row in logits]
    thresholds = _thresholds(logits, num)
    return [_sorted(row, threshold)[:num] for row, threshold in zip(logits, thresholds, strict=True)]


def ranked(row: Logits, threshold: float = LOWEST) -> Ids:
    """Every id of a row [vocabulary] whose logit is at least `threshold`, in canonical order."""
    return _sorted(row, threshold if np.isfinite(row.max()) else np.nan)


def _thresholds(logits: Logits, num: int) -> Logits:
    """A value for each row that at least `num` of its logits reach: the `num`-th largest of COLUMNS column maxima.

    NaN, which nothing reaches, for a row whose highest logit is not finite.
    """
    rows, vocabulary = logits.shape
    num_folded = vocabulary // COLUMNS * COLUMNS
    maxima = logits[:, :num_folded].reshape(rows, -1, COLUMNS).max(1)
    peaks = np.maximum(maxima.max(1), logits[:, num_folded:].max(1, initial=-np.inf))
    nth = np.partition(maxima, COLUMNS - num, axis=1)[:, COLUMNS - num] if num else np.full(rows, np.inf)
    return np.where(np.isfinite(peaks), np.maximum(nth, LOWEST), np.nan).astype(np.float32)


def _sorted(row: Logits, threshold: float) -> Ids:
    ids = (row >= threshold).nonzero()[0]
    return ids[(-row[ids]).argsort(kind="stable")]
