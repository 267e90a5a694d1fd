"""Rounding a row to int8 is what `docs/engine.md` says, for any float32 numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from minivault.engine.exact.compiling import whole
from minivault.engine.exact.quantizing import LEAST, quantize
from minivault.engine.exact.scratch import _quantized

floats = st.floats(-(2.0**100), 2.0**100, width=32)


@whole
def quantize_row(x: Any, r: int, out: Any, times: float) -> None:
    quantize(x, r, 0, x.shape[0], out, times)


def check(x: NDArray[np.float32], times: float) -> None:
    out, row = _quantized(len(x), 3), 1
    quantize_row(x, row, out, times)
    groups = x.reshape(-1, 32)
    most = np.maximum(abs(groups).max(axis=1), np.int32(LEAST).view(np.float32))
    codes = np.rint(groups * (np.float32(127) / most)[:, None]).astype(np.int32)
    assert (out.codes[row, : len(x)] == codes.ravel()).all()
    assert (out.sums[row] == codes.sum(axis=1)).all()
    assert (out.half_sums[row] == codes.reshape(-1, 16).sum(axis=1)).all()
    assert (out.scales[row] == most / np.float32(127) * np.float32(times)).all()
    assert (out.scaled_sums[row] == out.scales[row] * codes.sum(axis=1).astype(np.float32)).all()
    assert not out.codes[[0, 2]].any()


@given(arrays.arrays(np.float32, st.sampled_from([32, 96]), elements=floats), st.sampled_from([1.0, 0.22]))
def test_a_row_is_rounded_as_the_documentation_says(x: NDArray[np.float32], times: float) -> None:
    check(x, times)


def test_halves_go_to_the_even_code() -> None:
    check(np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, -127] * 4, np.float32), 1.0)
    check(np.zeros(32, np.float32), 1.0)
