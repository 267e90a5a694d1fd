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

GOLDEN: dict[tuple[str, int], str] = {}
DEFAULT_MODEL = ""


def digest(logits: np.ndarray) -> str:
    return hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest()


def test_the_checkpoints_are_the_same_everywhere() -> None:
    assert digest(noise("x", 3, 5)) == "0"


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
