"""How weights are quantised: codes on a grid per group of inputs, and which grids there are."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """A weight is scale * (code - zero), or scale * code + minimum where a group has one; codes are unsigned. With
    levels a code is the number of one of 16 bytes, which stands for it."""

    bits: int
    group: int
    """Inputs that share a scale: 32 or 16. Activations are quantised per 32."""
    has_minima: bool
    is_nested: bool = False
    """Scales and minima are small integers times a float16 that 256 inputs share, rounded to float16."""
    has_levels: bool = False

    @property
    def num_factors(self) -> int:
        """How many numbers a group has: a scale, and a minimum or not."""
        return 1 + self.has_minima


NIBBLES = Format(4, 32, has_minima=False)
NIBBLES_MINIMA = Format(4, 32, has_minima=True)
BYTES = Format(8, 32, has_minima=False)
SIXES = Format(6, 32, has_minima=False)
SIXES_MINIMA = Format(6, 32, has_minima=True)
NIBBLES_BY_16 = Format(4, 16, has_minima=False)
NIBBLES_MINIMA_BY_16 = Format(4, 16, has_minima=True)
NESTED_NIBBLES_MINIMA = Format(4, 32, has_minima=True, is_nested=True)
NESTED_SIXES_MINIMA = Format(6, 32, has_minima=True, is_nested=True)
NESTED_SIXES_BY_16 = Format(6, 16, has_minima=False, is_nested=True)
LEVELS = Format(4, 32, has_minima=False, has_levels=True)

FORMATS = {
    0: NIBBLES,
    1: NIBBLES_MINIMA,
    2: BYTES,
    5: NIBBLES_BY_16,
    6: NIBBLES_MINIMA_BY_16,
    7: NESTED_NIBBLES_MINIMA,
    8: NESTED_SIXES_MINIMA,
    9: NESTED_SIXES_BY_16,
    10: SIXES,
    11: SIXES_MINIMA,
    12: LEVELS,
}
"""A weights file names them by number: what a number has meant it never means anything else."""
NUMBERS = {form: number for number, form in FORMATS.items()}
