"""How far a row of logits is from giving one token: by how much logits would have to move for it to be drawn.

For those who compare an answer with logits that are not quite those that it was drawn from. No bits hang on it, so it
is plain NumPy (`docs/sampling.md`, "How far a token is").

A distance is told in z = logit / temperature, where two tokens come closer by at most d if no logit moves by more than
half of it. Each way out is as cheap as any such move can make it, so what is drawn is never farther than logits moved.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivault.engine.sampler.philox import Stream, numbers_of

Logits = NDArray[np.float32]
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def distance(
    row: Logits,
    token_id: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    key_low: int,
    key_high: int,
    position: int,
    purpose: int,
) -> float:
    """Of a token of a row [vocabulary] after all that changes logits, in units of logits; infinite where it is not to
    be drawn at all. The rest is what `choose` takes. The token itself must be kept; and each token with a better score
    must fall behind it, or be cut where it is kept."""
    if not np.isfinite(row[token_id]):
        return math.inf
    peak = float(row.max())
    if temperature <= 0:
        return peak - float(row[token_id])
    order: Ids = np.argsort(-row, kind="stable")
    order = order[np.isfinite(row[order])]
    z = (row[order].astype(np.float64) - peak) / temperature
    cuts = _Cuts.of(z, top_k, top_p, min_p)
    at = int(np.flatnonzero(order == token_id)[0])
    scores = z + _gumbel(order, Stream(key_low, key_high, position, purpose))
    ahead: Ids = np.flatnonzero(scores > scores[at])
    return temperature * max(cuts.to_keep(at), _to_win(ahead, scores[ahead] - scores[at], at, cuts))


def _to_win(ahead: Ids, behind: Floats, at: int, cuts: _Cuts) -> float:
    """The largest, over the tokens `ahead` (in canonical order) of the one at `at`, of what is the least for each: that
    it is `behind` them no longer, or that they are cut. A token is not cut later than those before it are."""
    farthest = np.maximum.accumulate(behind)

    def to_cut(number: int) -> float:
        return cuts.to_part(at, int(ahead[number]))

    first = bisect_left(range(len(ahead)), True, key=lambda number: bool(farthest[number] >= to_cut(number)))
    by_draw = float(farthest[first - 1]) if first else 0.0
    return max(by_draw, to_cut(first) if first < len(ahead) else 0.0)


@dataclass(frozen=True, slots=True)
class _Cuts:
    """What keeps tokens, told by their place in the canonical order, from being drawn, and how far each is from it."""

    z: Floats
    """Of all tokens, the highest (0) first."""
    mass: Floats
    """exp(z), of those that top-k keeps."""
    total: float
    top_p: float
    min_z: float

    @classmethod
    def of(cls, z: Floats, top_k: int, top_p: float, min_p: float) -> _Cuts:
        mass = np.exp(z[: top_k or None])
        return cls(z, mass, float(mass.sum()), top_p, math.log(min_p) if min_p > 0 else -math.inf)

    @property
    def _slack(self) -> float:
        """Of a part of the mass: masses are whole units of 2**-44."""
        return len(self.mass) * 2.0**-44

    def to_keep(self, at: int) -> float:
        """The least that brings the token at `at` back, 0 where it is kept. Those that are more than that above it stay
        before it, and may weigh less; the others may weigh as much as itself."""
        z, num = self.z, len(self.mass)
        by_rank = max(0.0, float(z[min(at, num - 1)] - z[at]), self.min_z - float(z[at]))
        if self.top_p >= 1 or at == 0:
            return by_rank
        num_before = np.arange(1, min(at, num - 1) + 1)
        capped = np.minimum(1.0, np.exp(z[:num] - z[at]))
        rest = np.cumsum(capped[::-1])[::-1][num_before]
        odds = np.log(np.cumsum(self.mass)[num_before - 1]) - np.log(rest) - z[at]
        enough = _log_odds(self.top_p + self._slack)
        swapped = np.maximum(z[num_before] - z[at], odds - enough).min(initial=float(z[0] - z[at]))
        return max(by_rank, float(swapped))

    def to_part(self, at: int, other: int) -> float:
        """The least that cuts the token at `other` but not the one at `at`: that must not be after it."""
        z, num = self.z, len(self.mass)
        if other >= num or z[other] < self.min_z:
            cut = 0.0
        else:
            by_rank = float(z[other] - z[num]) if num < len(z) else math.inf
            cut = min(by_rank, float(z[other]) - self.min_z, self._to_outweigh(other))
        return max(cut, float(z[other] - z[at]))

    def _to_outweigh(self, at: int) -> float:
        """The least that puts top_p of the mass before the token at `at`. Those that are no more than that below it may
        come before it, and weigh more."""
        if self.top_p >= 1:
            return math.inf
        before = float(self.mass[:at].sum()) + np.append(0.0, np.cumsum(self.mass[at + 1 :]))
        odds = np.log(before) - np.log(np.maximum(self.total - before, 0.0))
        enough = _log_odds(self.top_p - self._slack)
        return max(0.0, float(np.maximum(self.z[at] - self.z[at : len(self.mass)], enough - odds).min()))


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-300), 1.0)
    return math.inf if p == 1 else math.log(p) - math.log1p(-p)


def _gumbel(token_ids: Ids, stream: Stream) -> Floats:
    """The noise of some tokens."""
    noise: Floats = -np.log(-np.log((numbers_of(stream, token_ids).astype(np.float64) + 0.5) / 2.0**32))
    return noise
