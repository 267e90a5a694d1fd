"""Every family computes what transformers computes of it, as near as 8 bits go, and the same bits in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minivault.engine import exact
from minivault.engine.exact.runner import ExactRunner
from minivault.engine.runner import Chunk
from minivault.families import MODEL_TYPES
from tests.engine.exact import families
from tests.engine.exact.conftest import KINDS, Loader
from tests.engine.exact.driving import decode, prefill, tokens
from tests.engine.exact.test_correctness import relative_error

TOKENS = tokens(150)


@pytest.fixture(params=families.VARIANTS, scope="module")
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.write(request.param, tmp_path_factory.mktemp("family") / request.param)


@pytest.fixture(scope="module")
def prepared(directory: Path) -> Path:
    exact.prepare_checkpoint(directory, directory / "weights.exact")
    return directory / "weights.exact"


@torch.inference_mode()
def in_floats(directory: Path, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Logits [tokens, vocabulary] by transformers in float32, of the very numbers that the engine computes with."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(directory)
    with torch.device("meta"):
        kind: Any = type(AutoModelForCausalLM.from_config(config))
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        attn_implementation="eager",
        dtype=torch.float32,
        output_loading_info=True,
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()(torch.tensor([TOKENS])).logits[0].numpy()


def test_every_family_is_tried() -> None:
    tried = {config["model_type"] for config in families.CONFIGS.values()} | {"llama", "gpt2"}
    assert tried == set(MODEL_TYPES)


def test_logits_are_those_of_transformers(directory: Path, prepared: Path, load: Loader) -> None:
    expected = in_floats(directory, exact.unpack(prepared))
    runner = load.open(prepared)
    found = runner.every_logit(TOKENS)
    runner.close()
    errors = [relative_error(*rows) for rows in zip(found, expected, strict=True)]
    assert np.median(errors) < 0.08  # where two experts nearly tie, a row may get the other
    assert divergence(found, expected) < 0.01


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
