"""What a model needs is known before it is loaded, and one that does not fit is refused with both numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from minivault.config import Settings
from minivault.errors import ModelError
from minivault.service.backends import check_backend, load_local
from minivault.service.footprint import ensure_fits, footprint
from tests.models import gpt2

LLAMA = {
    "vocab_size": 128_256,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
}


def test_mapped_weights_count_once_and_all_else_for_each_worker() -> None:
    found = footprint(LLAMA, 1_300_000_000, 1_236_000_000, is_mapped=True)
    assert found.shared == 1_300_000_000
    assert 100_000_000 < found.own < 200_000_000, "a vocabulary, and 512 tokens of 32 kB"
    assert found.total(4) == found.shared + 4 * found.own


def test_a_runner_in_floats_has_them_in_each_worker() -> None:
    found = footprint(LLAMA, 2_500_000_000, 1_236_000_000, is_mapped=False)
    assert (found.shared, found.own > 4 * 1_236_000_000) == (0, True)


def test_a_config_that_says_little_needs_little_beside_its_weights() -> None:
    found = footprint({"text_config": {"vocab_size": "many"}}, 10, 10, is_mapped=True)
    assert 0 < found.own < 100_000_000
    inside = footprint({"text_config": LLAMA}, 10, 10, is_mapped=True)
    assert inside == footprint(LLAMA, 10, 10, is_mapped=True)


def test_what_does_not_fit_is_refused_with_what_it_needs_and_what_there_is() -> None:
    ensure_fits("m", 100, 100, "")
    with pytest.raises(ModelError, match=r"model m does not fit: it needs 3,001 MB .* and 2 MB are free.*; buy some"):
        ensure_fits("m", 3_000_100_000, 1_500_000, "buy some")


def test_a_model_that_does_not_fit_is_refused_before_the_server_starts_and_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt2.write_checkpoint(tmp_path / "model")
    settings = Settings(home=tmp_path / "home", model=str(tmp_path / "model"), device="cpu")
    check_backend(settings)
    small = replace(settings, models_mb=1)
    for refused in (check_backend, load_local):
        with pytest.raises(ModelError, match=r"model model does not fit: .*; raise MINIVAULT_MODELS_MB"):
            refused(small)
