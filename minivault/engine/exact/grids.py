"""Rows of a matrix as codes on a grid: a GGUF file's own, exactly, or one fitted to floats.

Signed codes become unsigned with a zero. The K types' scales are products of a float16 and a small integer, rounded to
float16 once; codes of 5 and 6 bits become bytes, and so do IQ4_NL's 16 levels, which no grid of nibbles holds. Layouts
are those of ggml's `ggml-common.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.formats import BYTES, BYTES_BY_16, BYTES_MINIMA, NIBBLES, NIBBLES_MINIMA, Format
from minivault.engine.exact.weights import Grid

Bytes, Floats, Halves = NDArray[np.uint8], NDArray[np.float32], NDArray[np.float16]

_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
"""IQ4_NL's (ggml's `kvalues_iq4nl`)."""


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
        return Grid(found.codes.reshape(num, -1), found.scales.reshape(num, -1), minima)


def _half(blocks: Bytes, at: int) -> Halves:
    """The float16 at a byte of each block [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16)


def _nibbles(packed: Bytes) -> Bytes:
    """Low halves, then high ones, along the last axis."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    return np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << 4


def _q4_0(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 2:]), _half(blocks, 0))


def _q4_1(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 4:]), _half(blocks, 0), _half(blocks, 2))


def _q5_0(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2), _half(blocks, 0))


def _q5_1(blocks: Bytes) -> Grid:
    return Grid(_nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4), _half(blocks, 0), _half(blocks, 2))


def _q8_0(blocks: Bytes) -> Grid:
    return Grid(blocks[:, 2:] ^ 128, _half(blocks, 0))


def _iq4_nl(blocks: Bytes) -> Grid:
    return Grid((_LEVELS + 128).astype(np.uint8)[_nibbles(blocks[:, 2:])], _half(blocks, 0))


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Scales and minima of 8 groups from 12 bytes."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], axis=1)
    return scales, np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], axis=1)


def _scaled(blocks: Bytes, at: int, packed: Bytes) -> Halves:
    return (_half(blocks, at).astype(np.float32) * packed.astype(np.float32)).astype(np.float16)


def _k_grid(blocks: Bytes, codes: Bytes) -> Grid:
    """Of Q4_K and Q5_K: code * (d * scale) - dmin * minimum."""
    scales, minima = _six_bits(blocks[:, 4:16])
    return Grid(codes.reshape(len(blocks), -1), _scaled(blocks, 0, scales), -_scaled(blocks, 2, minima))


def _q4_k(blocks: Bytes) -> Grid:
    return _k_grid(blocks, _nibbles(blocks[:, 16:].reshape(-1, 4, 32)))


def _q5_k(blocks: Bytes) -> Grid:
    high = (blocks[:, 16:48].reshape(-1, 1, 32) >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    return _k_grid(blocks, _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | high << 4)


def _q6_k(blocks: Bytes) -> Grid:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    scaled = (_half(blocks, 208).astype(np.float32) * scales).astype(np.float16)
    return Grid((low | high << 4).reshape(len(blocks), -1), scaled)


PACKINGS = {
    "Q4_0": Packing(32, 18, NIBBLES, 8, _q4_0),
    "Q4_1": Packing(32, 20, NIBBLES_MINIMA, 0, _q4_1),
    "Q5_0": Packing(32, 22, BYTES, 16, _q5_0),
    "Q5_1": Packing(32, 24, BYTES_MINIMA, 0, _q5_1),
    "Q8_0": Packing(32, 34, BYTES, 128, _q8_0),
    "IQ4_NL": Packing(32, 18, BYTES, 128, _iq4_nl),
    "Q4_K": Packing(256, 144, NIBBLES_MINIMA, 0, _q4_k),
    "Q5_K": Packing(256, 176, BYTES_MINIMA, 0, _q5_k),
    "Q6_K": Packing(256, 210, BYTES_BY_16, 32, _q6_k),
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
    return np.clip(np.rint(groups / steps) + zero, 0, most).astype(np.uint8).reshape(len(groups), -1)
