"""Rotary positions: the cosine and sine of every position and pair, out of correctly rounded powers.

Logarithms, powers and angles come from `decimal` and from series in float64: no library's sin, cos or log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


def rotations(turn: Mapping[str, Any], size: int, context: int, positions: range) -> tuple[Singles, Singles]:
    """cos and sin [positions, size / 2] of a rotation of types default, linear, llama3, yarn and longrope.

    The last has one set of numbers for contexts that the model was first made for, and one for longer ones."""
    cos, sin = cos_and_sin(frequencies(turn, size, is_long(turn, context)), positions)
    amplitude = np.float32(_amplitude(turn))
    return cos * amplitude, sin * amplitude


def is_long(turn: Mapping[str, Any], num_positions: int) -> bool:
    return turn["rope_type"] == "longrope" and num_positions > turn["original_max_position_embeddings"]


def frequencies(turn: Mapping[str, Any], size: int, is_long: bool = False) -> Floats:
    """Radians per position [size / 2]: correctly rounded powers, and what a type makes of them."""
    with localcontext() as context:
        context.prec = 40
        base, half = Decimal(float(turn["rope_theta"])), size // 2
        plain = np.array([float((-(base.ln() * i) / half).exp()) for i in range(half)])
    if turn["rope_type"] == "longrope":
        return plain / np.array(turn["long_factor" if is_long else "short_factor"], np.float64)
    return _TYPES[turn["rope_type"]](plain, turn)


def _llama3(plain: Floats, turn: Mapping[str, Any]) -> Floats:
    """Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended."""
    turns = plain * (float(turn["original_max_position_embeddings"]) / (2 * math.pi))
    low, high = float(turn["low_freq_factor"]), float(turn["high_freq_factor"])
    share = np.clip((turns - low) / (high - low), 0, 1)
    slow = plain / float(turn["factor"])
    return slow + (plain - slow) * share


def _yarn(plain: Floats, turn: Mapping[str, Any]) -> Floats:
    """YaRN: pairs that turn often in the original context are kept, those that turn seldom slowed, between a ramp."""
    fast, slow = float(turn.get("beta_fast") or 32), float(turn.get("beta_slow") or 1)
    low, high = (_pair_that_turns(times, len(plain), turn) for times in (fast, slow))
    if turn.get("truncate", True):
        low, high = float(math.floor(low)), float(math.ceil(high))
    low, high = max(low, 0.0), min(high, 2.0 * len(plain) - 1)
    ramp = np.clip((np.arange(len(plain)) - low) / (high - low or 0.001), 0, 1)
    return plain / float(turn["factor"]) * ramp + plain * (1 - ramp)


def _pair_that_turns(times: float, pairs: int, turn: Mapping[str, Any]) -> float:
    """The pair, counted in fractions, that makes so many turns in the original context."""
    with localcontext() as context:
        context.prec = 40
        length = Decimal(float(turn["original_max_position_embeddings"])) / (Decimal(times) * 2 * _PI)
        return float(pairs * length.ln() / Decimal(float(turn["rope_theta"])).ln())


def _amplitude(turn: Mapping[str, Any]) -> float:
    """What YaRN and longrope multiply queries and keys with."""
    if turn["rope_type"] not in ("yarn", "longrope"):
        return 1.0
    if turn.get("attention_factor") is not None:
        return float(turn["attention_factor"])
    if turn["rope_type"] == "longrope":
        with localcontext() as context:
            context.prec = 40
            factor, length = Decimal(max(float(turn["factor"]), 1.0)), turn["original_max_position_embeddings"]
            return float((1 + factor.ln() / Decimal(length).ln()).sqrt())
    if turn.get("mscale") and turn.get("mscale_all_dim"):
        return _grown(turn, turn["mscale"]) / _grown(turn, turn["mscale_all_dim"])
    return _grown(turn, 1.0)


def _grown(turn: Mapping[str, Any], scale: float) -> float:
    factor = float(turn["factor"])
    with localcontext() as context:
        context.prec = 40
        return float(Decimal(float(scale)) * Decimal(factor).ln() / 10 + 1) if factor > 1 else 1.0


_TYPES: Mapping[str, Any] = {
    "default": lambda plain, _turn: plain,
    "linear": lambda plain, turn: plain / float(turn["factor"]),
    "llama3": _llama3,
    "yarn": _yarn,
}
_PI = Decimal("3.141592653589793238462643383279502884197")
_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""pi/2 in three parts (fdlibm's): the first two end in zeros, so that their products with small integers are exact."""


def cos_and_sin(frequency: Floats, positions: range) -> tuple[Singles, Singles]:
    """cos and sin of position * frequency [positions, len(frequency)], float64 rounded to float32 at the end."""
    angle = np.array(positions, np.float64)[:, None] * frequency
    quarter = np.rint(angle * (2 / math.pi))
    r = angle
    for part in _HALF_PI:
        r = r - quarter * part
    sine, cosine = _sine(r), _cosine(r)
    turn = quarter.astype(np.int64) & 3
    is_odd = turn % 2 == 1
    cos, sin = np.where(is_odd, sine, cosine), np.where(is_odd, cosine, sine)
    cos, sin = np.where((turn == 1) | (turn == 2), -cos, cos), np.where(turn >= 2, -sin, sin)
    return cos.astype(np.float32), sin.astype(np.float32)


def _sine(r: Floats) -> Floats:
    """Of |r| <= pi/4: Taylor's series as far as float64 goes."""
    square, total = r * r, np.zeros_like(r)
    for n in range(19, 1, -2):
        total = (total + 1) * (square / -float(n * (n - 1)))
    return r + r * total


def _cosine(r: Floats) -> Floats:
    square, total = r * r, np.zeros_like(r)
    for n in range(20, 0, -2):
        total = (total + 1) * (square / -float(n * (n - 1)))
    return 1 + total
