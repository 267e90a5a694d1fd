"""Digests of logits, the same on every machine. Whoever changes one changes `runner.VERSION`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from minivault.config import load_settings
from minivault.engine.exact.runner import ExactRunner
from minivault.errors import ModelError
from minivault.models import ModelStore
from minivault.service import LocalModel
from minivault.types import Delta, GenerationRequest, SamplingParams
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
DEFAULT_MODEL = "15ce57d43b6af158ca50d56c184969facdf5f639c34041a2d0f0a8955c0eb76d"
SAMPLED = "cdf7719c14ab7b1ecec3c46651880540b6a03c234d92ca00acbce0d27c8161fb"
"""Of the default model's logits, and of the tokens and log-probabilities of 50 sampled answers."""
TOPICS = ("rivers", "bread", "clocks", "foxes", "glass", "islands", "kites", "salt", "rain", "maps")


def digest(logits: np.ndarray) -> str:
    return hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest()


def test_the_checkpoints_are_the_same_everywhere() -> None:
    assert digest(noise("x", 3, 5)) == "421d6136bfa556e6d883cc30527f2805d793c52fc5ac3258a0021da6593b395c"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("variant", "bits"), [(variant, bits) for variant in VARIANTS for bits in (8, 4)])
def test_logits_have_the_golden_digest(load: Loader, variant: str, bits: int, kind: type) -> None:
    prompts = [tokens(70, 1), tokens(33, 2), tokens(1, 3)]
    found = [load(variant, kind, bits=bits).every_logit(prompt) for prompt in prompts]
    assert digest(np.concatenate(found)) == GOLDEN[variant, bits]


@pytest.fixture(scope="module")
def default_model() -> Iterator[LocalModel]:
    settings = replace(load_settings(), model="smollm2-135m", context=512)
    try:
        ModelStore(settings.models_dir).resolve(settings.model)
    except ModelError as error:
        pytest.skip(error.message)
    model = LocalModel(settings)
    model.wait_loaded()
    yield model
    model.close()


@pytest.mark.model
def test_the_default_model_has_the_golden_digest(default_model: LocalModel) -> None:
    with default_model.using() as engine:
        runner = cast(ExactRunner, engine.loaded.runner)
        ids = [(place * 7919) % runner.vocabulary_size for place in range(40)]
        assert digest(runner.every_logit(ids)) == DEFAULT_MODEL


@pytest.mark.model
def test_sampled_answers_have_the_golden_digest(default_model: LocalModel) -> None:
    """All at once, as they come: neither the company nor the machine changes a bit."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda seed: sampled(default_model, seed), range(50)))
    assert hashlib.sha256(json.dumps(answers).encode()).hexdigest() == SAMPLED


def sampled(model: LocalModel, seed: int) -> list[list[Any]]:
    """Tokens and log-probabilities, these as the bits of their float64, of one answer."""
    params = SamplingParams(max_tokens=20, temperature=(0.0, 0.7, 1.0, 1.5)[seed % 4], seed=seed, logprobs=2)
    if seed % 3 == 0:
        params = replace(params, repetition_penalty=1.2, min_p=0.05, top_k=0, top_p=1.0)
    prompt = f"Tell me about {TOPICS[seed % 10]} in {seed} words."
    task = model.prepare(GenerationRequest(prompt=prompt, params=params))
    found: list[list[Any]] = []
    for event in model.generate(task, f"golden-{seed}").events():
        if isinstance(event, Delta):
            found += [[one.token_id, one.logprob.hex(), *(top.token_id for top in one.top)] for one in event.logprobs]
    return found
