"""Ranking: the most likely tokens of each row, in one canonical order, without sorting the vocabulary.

The order is: higher logit first, equal logits by lower id. Only comparisons and maxima touch the whole row, so a row's
ranking is exact and cannot depend on the rows beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Ids = npt.NDArray[np.int64]

COLUMNS = 1024
MAX_LEADING = COLUMNS // 4
"""Up to this many leaders are found by threshold; asking for more sorts the row."""
_LOWEST = float(np.finfo(np.float32).min)


def leaders(logits: torch.Tensor, num: int) -> list[Ids]:
    """For each row of `logits` [rows, vocabulary] (float32, no NaN) the `num` first ids in canonical order.

    Fewer come back where fewer are above -inf.
    """
    if num == 0:
        return [np.empty(0, np.int64) for _ in logits]
    if num > MAX_LEADING or logits.shape[1] < 4 * COLUMNS:
        return [ranked(row)[:num] for row in logits]
    thresholds = _thresholds(logits, num)
    above = (logits >= thresholds[:, None]).numpy()
    return [_ranked(row, np.flatnonzero(mask))[:num] for row, mask in zip(logits.numpy(), above, strict=True)]


def ranked(logits: torch.Tensor) -> Ids:
    """Every id above -inf of one row [vocabulary] in canonical order."""
    row = logits.numpy()
    return _ranked(row, np.flatnonzero(row >= _LOWEST))


def _thresholds(logits: torch.Tensor, num: int) -> torch.Tensor:
    """A value for each row that at least `num` of its logits reach: the `num`-th largest of COLUMNS column maxima."""
    rows, vocabulary = logits.shape
    folded = logits[:, : vocabulary // COLUMNS * COLUMNS].view(rows, -1, COLUMNS)
    maxima = folded.amax(1).numpy()
    nth = np.partition(maxima, COLUMNS - num, axis=1)[:, COLUMNS - num]
    return torch.from_numpy(np.maximum(nth, _LOWEST))


def _ranked(row: npt.NDArray[np.float32], ids: Ids) -> Ids:
    return ids[np.argsort(-row[ids], kind="stable")]
