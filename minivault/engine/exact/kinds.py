"""Kinds of kernels, and which of them a CPU can run.

A kind is a type: numba compiles, and caches, a version of all code for each. It holds the float16 table that `Plain`
needs where a CPU cannot convert.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Plain(NamedTuple):
    """Loops, for any CPU."""

    halves: NDArray[np.float32]


class Avx2(NamedTuple):
    """8 lanes; products of pairs in 16 bits, which eight of a nibble and an int8 cannot leave."""

    halves: NDArray[np.float32]


class Vnni256(NamedTuple):
    """8 lanes; four products at once into 32 bits (AVX-VNNI or AVX-512-VNNI)."""

    halves: NDArray[np.float32]


class Vnni512(NamedTuple):
    """16 lanes of the same."""

    halves: NDArray[np.float32]


Kind = Plain | Avx2 | Vnni256 | Vnni512


@dataclass(frozen=True)
class Lanes:
    """How a kind works: lanes of 32 bits, whether four bytes are multiplied at once, floats that `combine` takes at
    once of a row."""

    num: int
    has_vnni: bool
    width: int


LANES = {Avx2: Lanes(8, False, 16), Vnni256: Lanes(8, True, 16), Vnni512: Lanes(16, True, 32)}
_NEEDS = {
    Vnni512: {"avx512_vnni", "avx512bw", "avx512vl", "avx2", "fma", "f16c"},
    Vnni256: {"avx_vnni", "avx2", "fma", "f16c"},
    Avx2: {"avx2", "fma", "f16c"},
    Plain: set[str](),
}


def kinds(flags: Iterable[str]) -> list[type[Any]]:
    """The kinds that a CPU with these flags (Linux's names) can run, the quickest first."""
    has = set(flags)
    if "avx512_vnni" in has and "avx512vl" in has:
        has.add("avx_vnni")  # the same instruction in another encoding
    return [kind for kind, needs in _NEEDS.items() if needs <= has]


def made(kind: type[Kind]) -> Kind:
    """A kind with its table."""
    return kind(np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32))
