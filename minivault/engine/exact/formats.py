"""How weights are quantised: codes on a grid per group of inputs, and which grids there are."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """A weight is scale * (code - zero), or scale * code + minimum where a group has one; codes are unsigned."""

    bits: int
    group: int
    """Inputs that share a scale: 32 or 16. Activations are quantised per 32."""
    has_minima: bool
    is_nested: bool = False
    """Scales and minima are small integers times a float16 that 256 inputs share, rounded to float16."""

    @property
    def num_factors(self) -> int:
        """How many numbers a group has: a scale, and a minimum or not."""
        return 1 + self.has_minima


NIBBLES = Format(4, 32, has_minima=False)
NIBBLES_MINIMA = Format(4, 32, has_minima=True)
BYTES = Format(8, 32, has_minima=False)
BYTES_MINIMA = Format(8, 32, has_minima=True)
BYTES_BY_16 = Format(8, 16, has_minima=False)
NIBBLES_BY_16 = Format(4, 16, has_minima=False)
NIBBLES_MINIMA_BY_16 = Format(4, 16, has_minima=True)
NESTED_NIBBLES_MINIMA = Format(4, 32, has_minima=True, is_nested=True)
NESTED_SIXES_MINIMA = Format(6, 32, has_minima=True, is_nested=True)
NESTED_SIXES_BY_16 = Format(6, 16, has_minima=False, is_nested=True)

FORMATS = (
    NIBBLES,
    NIBBLES_MINIMA,
    BYTES,
    BYTES_MINIMA,
    BYTES_BY_16,
    NIBBLES_BY_16,
    NIBBLES_MINIMA_BY_16,
    NESTED_NIBBLES_MINIMA,
    NESTED_SIXES_MINIMA,
    NESTED_SIXES_BY_16,
)
"""A weights file names them by number: only ever append."""
