"""Rows of a matrix as codes on a grid: a GGUF file's own, exactly, or one fitted to floats.

Signed codes become unsigned with a zero. The K types' and IQ4_XS's scales are products of a float16 and a small
integer, rounded to float16 once: here, or for the commonest K types where they are used, so that these stay as small as
they are in their file. MXFP4's are powers of two, of which float16 holds those from 2**-24 to 2**15. Codes of 2 and 3
bits become nibbles, of 5 bits sixes; those of IQ4_NL, IQ4_XS and MXFP4 are numbers of 16 levels. Layouts are those of
ggml's `ggml-common.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.formats import (
    BYTES,
    LEVELS,
    NESTED_NIBBLES_MINIMA,
    NESTED_SIXES_BY_16,
    NESTED_SIXES_MINIMA,
    NIBBLES,
    NIBBLES_BY_16,
    NIBBLES_MINIMA,
    NIBBLES_MINIMA_BY_16,
    SIXES,
    SIXES_MINIMA,
    Format,
)
from minivault.engine.exact.weights import Grid

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Halves = NDArray[np.float16]

_ZERO = 128
"""Of levels."""
_LEVELS_OF_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]) + _ZERO
"""IQ4_NL's and IQ4_XS's (ggml's `kvalues_iq4nl`)."""
_LEVELS_OF_MXFP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]) + _ZERO
"""Doubled (ggml's `kvalues_mxfp4`)."""


class Packing(NamedTuple):
    """A GGUF type: bytes for so many inputs, the format it becomes, its zero, and [blocks, bytes] → a grid by block."""

    inputs: int
    num_bytes: int
    format: Format
    zero: int
    unpack: Callable[[Bytes], Grid]

    def grid(self, rows: Bytes) -> Grid:
        """Rows [rows, bytes] of a tensor."""
        found = self.unpack(np.ascontiguousarray(rows).reshape(-1, self.num_bytes))
        num = len(rows)
        minima = None if found.minima is None else found.minima.reshape(num, -1)
        steps = None if found.steps is None else found.steps.reshape(num, -1, found.steps.shape[-1])
        return Grid(found.codes.reshape(num, -1), found.scales.reshape(num, -1), minima, steps, found.levels)


def _half(blocks: Bytes, at: int) -> Halves:
    """The float16 at a byte of each block [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16)


def _nibbles(packed: Bytes) -> Bytes:
    """Low halves, then high ones, along the last axis."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    return np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << np.uint8(4)


def _q4_0(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 2:]), _half(blocks, 0))


def _q4_1(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 4:]), _half(blocks, 0), _half(blocks, 2))


def _q5_0(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2), _half(blocks, 0))


def _q5_1(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4), _half(blocks, 0), _half(blocks, 2))


def _q8_0(blocks: Bytes) -> Grid:
    return Grid(blocks[:, 2:] ^ np.uint8(128), _half(blocks, 0))


def _iq4_nl(blocks: Bytes) -> Grid:
    return _with_levels(_LEVELS_OF_IQ4, _nibbles(blocks[:, 2:]), _half(blocks, 0))


def _mxfp4(blocks: Bytes) -> Grid:
    scales = np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 128)
    with np.errstate(over="ignore"):  # what is no float16 is refused by whoever reads the file
        return _with_levels(_LEVELS_OF_MXFP4, _nibbles(blocks[:, 1:]), scales.astype(np.float16))


def _iq4_xs(blocks: Bytes) -> Grid:
    """A group's scale has 6 bits, offset by 32: two in a 16-bit number for all groups, four in nibbles."""
    groups, wide = np.arange(8, dtype=np.uint16), np.ascontiguousarray(blocks[:, 2:4]).view(np.uint16)
    low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=-1).reshape(-1, 8)
    six = low | ((wide >> 2 * groups) & 3).astype(np.uint8) << np.uint8(4)
    codes = _nibbles(blocks[:, 8:].reshape(-1, 8, 16)).reshape(len(blocks), -1)
    return _with_levels(_LEVELS_OF_IQ4, codes, _scaled(blocks, 0, six.astype(np.int8) - 32))


def _with_levels(levels: NDArray[np.int_], codes: Bytes, scales: Halves) -> Grid:
    return Grid(codes, scales, levels=levels.astype(np.uint8))


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Scales and minima of 8 groups from 12 bytes."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], axis=1)
    return scales, np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], axis=1)


def _scaled(blocks: Bytes, at: int, packed: NDArray[np.integer]) -> Halves:
    return (_half(blocks, at).astype(np.float32) * packed.astype(np.float32)).astype(np.float16)


def _by_shifts(packed: Bytes, width: int, bits: int, count: int) -> Bytes:
    """`count` numbers of `bits` bits from each byte; those of `width` bytes follow each other, lowest first."""
    shifts = np.arange(0, bits * count, bits, dtype=np.uint8)
    found = (packed.reshape(len(packed), -1, 1, width) >> shifts[:, None]) & np.uint8((1 << bits) - 1)
    return found.reshape(len(packed), -1)


def _q2_k(blocks: Bytes) -> Grid:
    """Nibbles of a byte: scale and minimum of 16 inputs."""
    scales, minima = blocks[:, :16] & 15, blocks[:, :16] >> 4
    return Grid(_by_shifts(blocks[:, 16:80], 32, 2, 4), _scaled(blocks, 80, scales), -_scaled(blocks, 82, minima))


def _q3_k(blocks: Bytes) -> Grid:
    """Scales have 6 bits, offset by 32: four in nibbles, then two."""
    high = _by_shifts(blocks[:, :32], 32, 1, 8)
    six = _nibbles(blocks[:, 96:104]) | _by_shifts(blocks[:, 104:108], 4, 2, 4) << np.uint8(4)
    codes = _by_shifts(blocks[:, 32:96], 32, 2, 4) | high << np.uint8(2)
    return Grid(codes, _scaled(blocks, 108, six.astype(np.int8) - 32))


def _k_grid(blocks: Bytes, codes: Bytes) -> Grid:
    """Of Q4_K and Q5_K: code * (d * scale) - dmin * minimum."""
    scales, minima = _six_bits(blocks[:, 4:16])
    return Grid(codes, _half(blocks, 0), -_half(blocks, 2), np.stack([scales, minima], axis=-1).view(np.int8))


def _q4_k(blocks: Bytes) -> Grid:
    return _k_grid(blocks, _by_shifts(blocks[:, 16:], 32, 4, 2))


def _q5_k(blocks: Bytes) -> Grid:
    low = _by_shifts(blocks[:, 48:], 32, 4, 2)
    return _k_grid(blocks, low | _by_shifts(blocks[:, 16:48], 32, 1, 8) << np.uint8(4))


def _q6_k(blocks: Bytes) -> Grid:
    codes = _by_shifts(blocks[:, :128], 64, 4, 2) | _by_shifts(blocks[:, 128:192], 32, 2, 4) << np.uint8(4)
    return Grid(codes, _half(blocks, 208), steps=blocks[:, 192:208, None].view(np.int8))


PACKINGS = {
    "Q4_0": Packing(32, 18, NIBBLES, 8, _q4_0),
    "Q4_1": Packing(32, 20, NIBBLES_MINIMA, 0, _q4_1),
    "Q5_0": Packing(32, 22, SIXES, 16, _q5_0),
    "Q5_1": Packing(32, 24, SIXES_MINIMA, 0, _q5_1),
    "Q8_0": Packing(32, 34, BYTES, 128, _q8_0),
    "IQ4_NL": Packing(32, 18, LEVELS, _ZERO, _iq4_nl),
    "IQ4_XS": Packing(256, 136, LEVELS, _ZERO, _iq4_xs),
    "MXFP4": Packing(32, 17, LEVELS, _ZERO, _mxfp4),
    "Q2_K": Packing(256, 84, NIBBLES_MINIMA_BY_16, 0, _q2_k),
    "Q3_K": Packing(256, 110, NIBBLES_BY_16, 4, _q3_k),
    "Q4_K": Packing(256, 144, NESTED_NIBBLES_MINIMA, 0, _q4_k),
    "Q5_K": Packing(256, 176, NESTED_SIXES_MINIMA, 0, _q5_k),
    "Q6_K": Packing(256, 210, NESTED_SIXES_BY_16, 32, _q6_k),
}

FITTED = {8: (BYTES, 128), 4: (NIBBLES_MINIMA, 0)}
"""Bits → format and zero of a grid that we choose."""


def fitted(rows: Floats, bits: int) -> Grid:
    """The nearest codes for float rows: at 8 bits the largest magnitude of a group is 127 steps, at 4 bits its range
    is 15 steps. Steps are float16 before codes are chosen."""
    num, inputs = rows.shape
    groups = np.zeros((num, -(-inputs // 32), 32), np.float32)
    groups.reshape(num, -1)[:, :inputs] = rows
    if bits == 8:
        scales = (np.abs(groups).max(-1) / np.float32(127)).astype(np.float16)
        return Grid(_codes(groups, scales, np.float32(128), 255), scales)
    low = groups.min(-1)
    scales, minima = ((groups.max(-1) - low) / np.float32(15)).astype(np.float16), low.astype(np.float16)
    return Grid(_codes(groups - minima.astype(np.float32)[..., None], scales, np.float32(0), 15), scales, minima)


def _codes(groups: Floats, scales: Halves, zero: np.float32, most: int) -> Bytes:
    steps = np.where(scales == 0, np.inf, scales.astype(np.float32))[..., None].astype(np.float32)
    codes: Bytes = np.clip(np.rint(groups / steps) + zero, 0, most).astype(np.uint8).reshape(len(groups), -1)
    return codes
