"""How far a row of logits is from giving one token: by how much logits would have to move for it to be drawn.

For those who compare an answer with logits that are not quite those that it was drawn from. No bits hang on it, so it
is plain NumPy (`docs/sampling.md`, "How far a token is").
"""

from __future__ import annotations

import math

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
    be drawn at all. The rest is what `choose` takes. Each token with a better score must fall behind or be cut; and
    the token itself, where it is cut, must come back."""
    if not np.isfinite(row[token_id]):
        return math.inf
    peak = float(row.max())
    if temperature <= 0:
        return peak - float(row[token_id])
    order: Ids = np.argsort(-row, kind="stable")
    order = order[np.isfinite(row[order])]
    z = (row[order].astype(np.float64) - peak) / temperature
    margins = _margins(z, top_k, top_p, min_p)
    at = int(np.flatnonzero(order == token_id)[0])
    scores = z + _gumbel(order, Stream(key_low, key_high, position, purpose))
    ahead = (scores > scores[at]) & (margins > 0)
    needed = np.minimum(scores[ahead] - scores[at], margins[ahead])
    return temperature * max(0.0, -float(margins[at]), float(needed.max(initial=0.0)))


def _margins(z: Floats, top_k: int, top_p: float, min_p: float) -> Floats:
    """How far each token of the canonical order is from being cut, negative where it is: the least of the three."""
    margins: Floats = np.full(len(z), np.inf)
    if 0 < top_k < len(z):
        margins[:top_k] = z[:top_k] - z[top_k]
        margins[top_k:] = z[top_k:] - z[top_k - 1]
        margins[top_k:][margins[top_k:] == 0] = -1e-9
    if top_p < 1:
        margins = np.minimum(margins, _margins_of_mass(z, top_k, top_p))
    if min_p > 0:
        margins = np.minimum(margins, z - math.log(min_p))
    return margins


def _margins_of_mass(z: Floats, top_k: int, top_p: float) -> Floats:
    """A token is kept while those before it weigh less than top_p; in log-odds, as logits move these."""
    mass = np.exp(z)
    before = np.cumsum(mass) - mass
    before /= mass[: top_k or None].sum()
    enough = np.clip(top_p, 1e-9, 1 - 1e-9)
    margins: Floats = _log_odds(enough) - _log_odds(np.clip(before, 1e-12, 1 - 1e-9))
    margins[0] = np.inf
    return margins


def _log_odds(p: Floats | float) -> Floats:
    odds: Floats = np.log(p) - np.log1p(-np.asarray(p, np.float64))
    return odds


def _gumbel(token_ids: Ids, stream: Stream) -> Floats:
    """The noise of some tokens."""
    noise: Floats = -np.log(-np.log((numbers_of(stream, token_ids).astype(np.float64) + 0.5) / 2.0**32))
    return noise
