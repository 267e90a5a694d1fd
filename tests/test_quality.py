"""The default model on int8 weights says what it says in float32.

How closely depends on the kind of CPU, and `python -m benchmarks.quality` measures it. What is asserted here holds on
every kind, since it lies far beyond all their figures (0.02 and 0.93), and still far from what a wrong kernel gives.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.quality import figures, log_probabilities, text_tokens
from minivault.config import load_settings
from minivault.engine.host import Machine
from minivault.errors import ModelError
from minivault.models import ModelStore

pytestmark = pytest.mark.model

VNNI = {"avx512_vnni", "avx512vl", "avx512bw"}
NUM_TOKENS = 256


@pytest.fixture(scope="module")
def directory() -> Path:
    try:
        return ModelStore(load_settings().models_dir).resolve("smollm2-135m").directory
    except ModelError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="module")
def exact(directory: Path) -> torch.Tensor:
    return predictions(directory, "fp32", Machine.here())


def predictions(directory: Path, kind: str, machine: Machine) -> torch.Tensor:
    return log_probabilities(directory, kind, text_tokens(directory)[:NUM_TOKENS], machine)


@pytest.mark.parametrize("has_vnni", [True, False])
def test_int8_keeps_the_predictions(has_vnni: bool, directory: Path, exact: torch.Tensor) -> None:
    """Levels are simulated where this CPU is not of the kind; what saturates without VNNI only such a CPU shows."""
    here = Machine.here()
    machine = replace(here, flags=here.flags | VNNI if has_vnni else here.flags - VNNI)
    if has_vnni and not here.has_vnni:
        pytest.skip("this CPU would saturate at the levels of one with VNNI")
    measured = figures(exact, predictions(directory, "int8", machine))
    assert measured["mean_kl"] <= 0.1
    assert measured["top1_agreement"] >= 0.85
