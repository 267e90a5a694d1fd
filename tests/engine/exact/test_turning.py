"""Angles are computed as positions come, and are the same however many at once."""

from __future__ import annotations

import numpy as np
import pytest

from minivault.engine.exact.runner import TURNED_AT_ONCE
from minivault.engine.exact.turning import rotations
from tests.engine.exact.conftest import Loader
from tests.engine.exact.driving import prefill, tokens

CONTEXT = 4096
TURNS = [
    {"rope_type": "default", "rope_theta": 1e6},
    {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024,
    },
    {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 1024},
]  # fmt: skip


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: str(turn["rope_type"]))
def test_parts_are_those_of_the_whole(turn: dict[str, float]) -> None:
    whole = rotations(turn, 64, CONTEXT, range(CONTEXT))
    for size in (1, 500, TURNED_AT_ONCE):
        for start in (0, 17, CONTEXT - size):
            part = rotations(turn, 64, CONTEXT, range(start, start + size))
            assert all(np.array_equal(one, all_[start : start + size]) for one, all_ in zip(part, whole, strict=True))


def test_angles_are_computed_as_far_as_positions_go(load: Loader) -> None:
    runner = load.open(load.prepared("llama"), context=3 * TURNED_AT_ONCE)
    for count, known in ((20, TURNED_AT_ONCE), (TURNED_AT_ONCE + 1, 2 * TURNED_AT_ONCE)):
        prefill(runner, 0, tokens(count, 1))
        runner.release(0)
        is_there = runner._model.weights.cos.any(axis=(0, 2))
        assert is_there[:known].all() and not is_there[known:].any()
    runner.close()
