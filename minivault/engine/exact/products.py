"""Integer products of weights and activations in vectors, and how codes of 4, 6 and 8 bits are unpacked for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from minivault.engine.exact.emitting import I8, QUADS, Emitter, vector
from minivault.engine.exact.formats import Format
from minivault.engine.exact.kinds import Lanes
from minivault.engine.exact.ops import I32, named

AHEAD = 2048
"""Bytes of weights to ask memory for in advance: worth 1.4 times where no cache holds them."""


class Levels:
    """What stands for each of 16 codes, in vectors: bytes, or for a CPU without four-byte products their halves."""

    def __init__(self, e: Emitter, lanes: Lanes, levels: Any) -> None:
        every = e.repeated(e.load(levels, vector(I8, 16)))
        self.tables = (every,) if lanes.has_vnni else _nibbles(e, every)


class Products:
    """Integer sums of products over one group of inputs, for m activation rows and `num` weight rows.

    A nibble's products with int8 fit 16 bits eight times (15 * 127 * 2 * 8 = 30,480), so a CPU without four-byte
    products adds all 32 inputs there; bytes and levels are then two nibbles, and sixes are widened two
    at a time (63 * 127 * 2 * 2 = 32,004). Few rows add in several chains, not to wait."""

    def __init__(self, emitter: Emitter, lanes: Lanes, form: Format, m: int, levels: Levels | None) -> None:
        self.e, self.has_vnni, self.form, self.levels = emitter, lanes.has_vnni, form, levels
        self.is_wide = lanes.has_vnni or form.bits == 6
        self.chains = max(1, 4 // m)
        self.num_parts = 2 if (form.bits == 8 or levels) and not lanes.has_vnni else 1
        kind = emitter.ints if self.is_wide else emitter.shorts
        self.zero = ir.Constant(kind, None)
        self.sums = [[[None] * self.chains for _ in range(self.num_parts)] for _ in range(m)]
        self.turn = 0

    def add(self, row: int, part: int, pieces: Sequence[tuple[Any, Any]]) -> None:
        """Add the products of 4 codes in each lane with 4 activations, for each piece."""
        e, b, chain = self.e, self.e.b, self.turn % self.chains
        total = self.sums[row][part][chain]
        total = self.zero if total is None else total
        if self.has_vnni:
            for codes, x in pieces:
                total = self._dot("vpdpbusd", e.bytes, total, codes, e.splat(x))
        elif self.is_wide:
            first, second = (self._pairs(codes, e.splat(x)) for codes, x in pieces)
            total = b.add(total, self._widened(b.add(first, second), 1))
        else:
            for codes, x in pieces:
                total = b.add(total, self._pairs(codes, e.splat(x)))
        self.sums[row][part][chain] = total

    def _dot(self, name: str, kind: Any, before: Any, *factors: Any) -> Any:
        """`before` plus the products of each lane's small numbers, which are of a kind."""
        e, b = self.e, self.e.b
        operand = kind if QUADS else e.ints
        dot = named(b, f"llvm.x86.avx512.{name}.{32 * e.num}", ir.FunctionType(e.ints, [e.ints, operand, operand]))
        return b.call(dot, [before, *(b.bitcast(factor, operand) for factor in factors)])

    def _pairs(self, codes: Any, x: Any) -> Any:
        """Sums of two products each, in 16 bits."""
        e, b = self.e, self.e.b
        pairs = named(b, "llvm.x86.avx2.pmadd.ub.sw", ir.FunctionType(e.shorts, [e.bytes, e.bytes]))
        return b.call(pairs, [codes, b.bitcast(x, e.bytes)])

    def _widened(self, shorts: Any, factor: int) -> Any:
        """Neighbours of 16 bits, times a factor, added in 32."""
        return self._pairs_of_shorts(shorts, self.e.constant(self.e.shorts, factor))

    def _pairs_of_shorts(self, a: Any, b: Any) -> Any:
        e = self.e
        pairs = named(e.b, "llvm.x86.avx2.pmadd.wd", ir.FunctionType(e.ints, [e.shorts, e.shorts]))
        return e.b.call(pairs, [a, b])

    def scaled(self, ints: Any, factor: Any) -> Any:
        """Sums of activations times a factor; both fit 16 bits, and the factor has zeros above these."""
        e, b = self.e, self.e.b
        if not self.has_vnni:
            return self._pairs_of_shorts(b.bitcast(ints, e.shorts), b.bitcast(factor, e.shorts))
        return self._dot("vpdpwssd", e.shorts, ir.Constant(e.ints, None), factor, ints)

    def totals(self, row: int, start: Any) -> Any:
        """`start` plus all sums of a row, as 32-bit lanes."""
        b, total = self.e.b, start
        for part, chains in enumerate(self.sums[row]):
            used = [chain for chain in chains if chain is not None]
            added = used[0]
            for chain in used[1:]:
                added = b.add(added, chain)
            if not self.is_wide:
                added = self._widened(added, 16 if part else 1)
            total = added if total is None else b.add(total, added)
        return total


def _nibbles(e: Emitter, packed: Any) -> tuple[Any, Any]:
    low = e.constant(e.bytes, 15)
    high = e.b.bitcast(e.b.lshr(e.b.bitcast(packed, e.shorts), e.constant(e.shorts, 4)), e.bytes)
    return e.b.and_(packed, low), e.b.and_(high, low)


def _sixes(e: Emitter, nibbles: Any, high: Any, place: int) -> Any:
    """Nibbles with two bits each above them, from `place` on in the bytes of `high`."""
    wide = e.b.bitcast(high, e.shorts)
    moved = (
        e.b.shl(wide, e.constant(e.shorts, 4 - place)) if place < 4 else e.b.lshr(wide, e.constant(e.shorts, place - 4))
    )
    return e.b.or_(nibbles, e.b.and_(e.b.bitcast(moved, e.bytes), e.constant(e.bytes, 0x30)))


def multiply(e: Emitter, products: Products, codes: Any, x: list[Any], index: Any, inputs: range) -> None:
    """All products of these inputs of group `index`, 64 bytes of a block's codes at a time."""
    bits = products.form.bits
    first = e.times(index, 64 * bits)
    for place in range(inputs.start, inputs.stop, 4 if bits == 8 else 8):
        if bits == 8:
            packed = _piece(e, codes, first, place // 4)
            pieces = _nibbles(e, packed) if products.num_parts == 2 else (packed,)
            _add(e, products, [[(piece, place)] for piece in pieces], x, index)
            continue
        pieces = _nibbles(e, _piece(e, codes, first, place // 8 if bits == 4 else place // 16 * 3 + place // 8 % 2))
        if bits == 6:
            high = _piece(e, codes, first, place // 16 * 3 + 2)
            pieces = tuple(_sixes(e, one, high, place % 16 // 2 + 2 * i) for i, one in enumerate(pieces))
        tables = products.levels.tables if products.levels else (None,)
        parts = [[piece if table is None else e.looked_up(table, piece) for piece in pieces] for table in tables]
        _add(e, products, [[(piece, place + 4 * i) for i, piece in enumerate(part)] for part in parts], x, index)


def _piece(e: Emitter, codes: Any, first: Any, number: int) -> Any:
    here = e.at(codes, first, 64 * number)
    e.prefetch(e.at(here, AHEAD))
    return e.load(here, e.bytes)


def _add(e: Emitter, products: Products, parts: list[list[tuple[Any, int]]], x: list[Any], index: Any) -> None:
    """For each part of the sums, the products of pieces of codes with every row's activations from a place on."""
    for row, start in enumerate(x):
        for part, pieces in enumerate(parts):
            here = [(piece, e.load(e.at(start, e.times(index, 32), place), I32)) for piece, place in pieces]
            products.add(row, part, here)
    products.turn += 1
