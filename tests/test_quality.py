"""The default model on int8 weights says what it says in float32."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.quality import figures, text_tokens
from minivault.config import load_settings
from minivault.engine.host import Machine
from minivault.errors import ModelError
from minivault.models import ModelStore

pytestmark = pytest.mark.model

VNNI = {"avx512_vnni", "avx512vl", "avx512bw"}


@pytest.mark.parametrize("has_vnni", [True, False])
def test_int8_keeps_the_predictions(has_vnni: bool) -> None:
    """Levels are simulated where this CPU is not of the kind; what saturates without VNNI only such a CPU shows."""
    try:
        directory = ModelStore(load_settings().models_dir).resolve("smollm2-135m").directory
    except ModelError as error:
        pytest.skip(error.message)
    here = Machine.here()
    machine = replace(here, flags=here.flags | VNNI if has_vnni else here.flags - VNNI)
    if has_vnni and not here.has_vnni:
        pytest.skip("this CPU would saturate at the levels of one with VNNI")
    measured = figures(directory, text_tokens(directory)[:1024], machine)
    assert measured["mean_kl"] <= 0.02
    assert measured["top1_agreement"] >= 0.94
