"""Randomness as a pure function of a seed and an index, so that any token can be drawn again on any machine.

SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014) in counter form: the
state after n steps is the start plus n times a constant, so no state is kept at all.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def uniform(seed: int, index: int) -> float:
    """The `index`-th number of the stream of `seed`: in [0, 1), 53 random bits. Seeds are taken modulo 2**64."""
    return (_mix(_mix(seed & _MASK) + (index + 1) * _GAMMA & _MASK) >> 11) * 2.0**-53


def _mix(bits: int) -> int:
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _MASK
    return bits ^ (bits >> 31)
