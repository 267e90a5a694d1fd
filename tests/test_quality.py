"""The default model as it is served says what it says in float32."""

from __future__ import annotations

import pytest

from benchmarks.quality import figures
from minivault.config import load_settings
from minivault.errors import ModelError

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


def test_the_exact_engine_keeps_the_predictions() -> None:
    try:
        measured = figures(load_settings())
    except ModelError as error:
        pytest.skip(error.message)
    assert measured["mean_kl"] <= 0.003
    assert measured["top1_agreement"] >= 0.97
