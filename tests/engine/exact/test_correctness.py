"""The forward pass computes what transformers computes, as near as 8 bits go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minivault.engine import exact
from tests.engine.exact.checkpoints import VARIANTS
from tests.engine.exact.conftest import Loader
from tests.engine.exact.driving import decode, prefill, tokens
from tests.engine.exact.floats import Floats, by_transformers


@torch.inference_mode()
def reference(load: Loader, variant: str, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and last hidden states [tokens, …] in float32."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(load.directory(variant), dtype=torch.float32).eval()
    found = model(torch.tensor([ids]), output_hidden_states=True)
    return found.logits[0].numpy(), found.hidden_states[-1][0].numpy()


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_transformers(variant: str, load: Loader) -> None:
    runner, ids = load(variant), tokens(150)
    expected, _ = reference(load, variant, ids)
    assert relative_error(runner.every_logit(ids), expected) < 0.06
    assert relative_error(prefill(runner, 0, ids[:149]), expected[148]) < 0.1
    assert relative_error(decode(runner, [0], ids[149:], [149])[0], expected[149]) < 0.1
    runner.release(0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_description_is_the_model(variant: str, load: Loader) -> None:
    prepared, ids = load.prepared(variant), tokens(150)
    expected = by_transformers(load.directory(variant), exact.unpack(prepared), ids)
    assert relative_error(Floats(prepared, 320).logits(ids), expected) < 1e-5


@pytest.mark.parametrize("variant", ["llama", "gpt2"])
def test_4_bits_stay_near(variant: str, load: Loader) -> None:
    ids = tokens(100)
    assert relative_error(load(variant, bits=4).every_logit(ids), reference(load, variant, ids)[0]) < 0.4


@pytest.mark.parametrize("variant", ["llama", "gpt2"])
def test_embedding_is_the_mean_of_the_final_hidden_states(variant: str, load: Loader) -> None:
    ids = tokens(300)
    mean = reference(load, variant, ids)[1].mean(0)
    found = load(variant).embed(ids)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert relative_error(found, mean / np.linalg.norm(mean)) < 0.03
