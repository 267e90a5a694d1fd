"""Digests of logits, the same on every machine. Whoever changes one changes `runner.VERSION`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from minivault.config import load_settings
from minivault.engine.exact import prepare_checkpoint
from tests.engine.exact.checkpoints import VARIANTS, noise
from tests.engine.exact.conftest import KINDS, Loader
from tests.engine.exact.driving import tokens

GOLDEN: dict[tuple[str, int], str] = {
    ("llama", 8): "4bf82603c4e3892bc8f008000eda2d80a1e816942b39536ed2bf37b54e662c10",
    ("llama", 4): "2651c719ca6cc6fc320a6e60f6eb47f58794565421ede192d98e73ae3a5d44bd",
    ("llama3", 8): "041a62dfb9903476a06c09bc16c95a8962d2fd4ff516f2020dc97f767c068a34",
    ("llama3", 4): "c58e5520ac4829fdbcab1501d3003015939f459a776cb9a86f1ffc7060824800",
    ("odd", 8): "58807f515d5911c1cd874ee4eba097b71b65500c03217112444207a5a12c9166",
    ("odd", 4): "60a7b86a6141067a2500d5ecba0e19ac45de191f482958e531cd2141ed2ff9e1",
    ("qwen2", 8): "efab48b8e5dd9ba36f9c3f87ad15a5307e8b1a2042e19547bf6896dee440c3ee",
    ("qwen2", 4): "cb00ee3336cee4d08e16829508e3d5dd91e329ce36728abdc6f9be0ed9cfe5d6",
    ("gpt2", 8): "db87ffcc5daaf7f965382199bbe68caca973d17cbae968423e2b29563e1c853c",
    ("gpt2", 4): "e6903c166283d49c8e0b1dc12c69d3c0c512e91ad770ccac6c2e82a46a7c67b5",
    ("gpt2-scaled", 8): "8035e56e2b8e24132957452b43869ed08061e5d2fec22efe1fa61ab5c9b87b53",
    ("gpt2-scaled", 4): "370c3743e49d2a542bb4e11e22dbced4ed446d799795385bc9805ca3986641a0",
}
DEFAULT_MODEL = "517adc989da29bcbe1b52db1418947af45993734fb6ff09c46357604514c1975"


def digest(logits: np.ndarray) -> str:
    return hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest()


def test_the_checkpoints_are_the_same_everywhere() -> None:
    assert digest(noise("x", 3, 5)) == "421d6136bfa556e6d883cc30527f2805d793c52fc5ac3258a0021da6593b395c"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("variant", "bits"), [(variant, bits) for variant in VARIANTS for bits in (8, 4)])
@pytest.mark.timeout(600)
def test_logits_have_the_golden_digest(load: Loader, variant: str, bits: int, kind: type) -> None:
    prompts = [tokens(70, 1), tokens(33, 2), tokens(1, 3)]
    found = [load(variant, kind, bits=bits).every_logit(prompt) for prompt in prompts]
    assert digest(np.concatenate(found)) == GOLDEN[variant, bits]


@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_default_model_has_the_golden_digest(load: Loader, tmp_path: Path) -> None:
    directory = load_settings().models_dir / "smollm2-135m"
    if not (directory / "model.safetensors").exists():
        pytest.skip("the default model is not prepared here")
    prepare_checkpoint(directory, tmp_path / "default.exact")
    runner = load.open(tmp_path / "default.exact", num_threads=2)
    found = runner.every_logit([(place * 7919) % runner.vocabulary_size for place in range(40)])
    runner.close()
    assert digest(found) == DEFAULT_MODEL
