"""Every family computes what transformers computes of it, as near as 8 bits go, and the same bits in any company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig

from minivault.engine import exact
from minivault.engine.exact.runner import ExactRunner
from minivault.engine.runner import Chunk
from minivault.errors import ModelError
from minivault.families import MODEL_TYPES, family_of
from tests.engine.exact import families
from tests.engine.exact.conftest import KINDS, Loader
from tests.engine.exact.driving import decode, prefill, tokens
from tests.engine.exact.floats import Floats, by_transformers
from tests.engine.exact.test_correctness import relative_error

TOKENS, CONTEXT = tokens(150), 320


@pytest.fixture(params=families.VARIANTS, scope="module")
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.write(request.param, tmp_path_factory.mktemp("family") / request.param)


@pytest.fixture(scope="module")
def prepared(directory: Path) -> Path:
    exact.prepare_checkpoint(directory, directory / "weights.exact")
    return directory / "weights.exact"


@pytest.fixture(scope="module")
def expected(directory: Path, prepared: Path) -> np.ndarray:
    """Logits by transformers in float32, of the very numbers that the engine computes with."""
    return by_transformers(directory, exact.unpack(prepared), TOKENS)


@pytest.fixture(scope="module")
def found(prepared: Path, load: Loader) -> np.ndarray:
    runner = load.open(prepared, context=CONTEXT)
    logits = runner.every_logit(TOKENS)
    runner.close()
    return logits


def test_every_family_is_tried() -> None:
    tried = {config["model_type"] for config in families.CONFIGS.values()} | {"llama", "gpt2"}
    assert tried == set(MODEL_TYPES)


def test_the_description_is_the_model(prepared: Path, expected: np.ndarray) -> None:
    assert relative_error(Floats(prepared, CONTEXT).logits(TOKENS), expected) < 1e-5


def test_the_engine_computes_what_is_described(prepared: Path, found: np.ndarray) -> None:
    """But for a number here and there that lies between two codes and is rounded the other way."""
    expected = Floats(prepared, CONTEXT, is_rounded=True).logits(TOKENS)
    assert np.median([relative_error(*rows) for rows in zip(found, expected, strict=True)]) < 0.02
    assert divergence(found, expected) < 0.0005


def test_rounding_moves_it_little(found: np.ndarray, expected: np.ndarray) -> None:
    assert divergence(found, expected) < 0.01


@pytest.mark.parametrize(
    ("variant", "tensor"),
    [
        ("llama3", "lm_head.weight"),
        ("glm", "model.layers.2.self_attn.k_proj.bias"),
        ("seed_oss", "model.layers.1.self_attn.v_proj.bias"),
        ("qwen2-yarn", "model.layers.3.self_attn.q_proj.bias"),
        ("starcoder2", "model.layers.0.mlp.c_fc.bias"),
    ],
)
def test_a_tensor_that_a_config_asks_for_and_nobody_has_is_named(variant: str, tensor: str, tmp_path: Path) -> None:
    directory = families.write(variant, tmp_path / variant)
    found = load_file(directory / "model.safetensors")
    del found[tensor]
    save_file(found, directory / "model.safetensors")
    with pytest.raises(ModelError, match=rf"tensor .*{tensor.removeprefix('model.')} is missing"):
        exact.prepare_checkpoint(directory, tmp_path / "weights.exact")


def test_the_first_gemmas_say_gelu_and_mean_its_approximation() -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 64}
    config = {"model_type": "gemma", "hidden_act": "gelu", "vocab_size": 90, **sizes}
    family = family_of(config)
    assert family is not None
    assert family.block(config).activation == AutoConfig.for_model(**config).hidden_act


def divergence(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean KL divergence of the rows."""
    theirs, ours = (torch.from_numpy(logits).log_softmax(-1) for logits in (expected, found))
    return float((theirs.exp() * (theirs - ours)).sum(-1).mean())


def test_bits_are_the_same_however_a_prompt_is_cut_and_whatever_computes(prepared: Path, load: Loader) -> None:
    found = []
    for kind in KINDS:
        runner = load.open(prepared, kind)
        every = runner.every_logit(TOKENS)
        found += [every[148], prefill(runner, 0, TOKENS[:149])]
        assert np.array_equal(decode(runner, [0], TOKENS[149:], [149])[0], every[149])
        found.append(in_pieces(runner))
        runner.close()
    assert all(np.array_equal(found[0], other) for other in found[1:])


def in_pieces(runner: ExactRunner) -> np.ndarray:
    """The last logits of 149 tokens that came in pieces, another sequence beside them."""
    for start in (0, 37, 90):
        stop = {0: 37, 37: 90, 90: 149}[start]
        logits = runner.forward(
            [
                chunk(1, TOKENS[start:stop], start),
                chunk(2, TOKENS[::-1][start:stop], start),
            ]
        )
    return logits[0]


def chunk(slot: int, ids: list[int], start: int) -> Chunk:
    return Chunk(slot, ids, start, is_prompt=True)
