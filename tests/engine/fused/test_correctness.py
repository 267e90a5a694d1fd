"""The fused forward pass computes what transformers computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minivault.engine.fused.runner import CHUNK_TOKENS, FusedRunner
from minivault.engine.runner import Chunk
from tests.engine.fused.checkpoints import SMALL, VARIANTS, VOCABULARY
from tests.engine.fused.conftest import Loader, Reference


def tokens(count: int, seed: int = 1) -> list[int]:
    return torch.randint(0, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def prefill(runner: FusedRunner, slot: int, ids: list[int], start: int = 0) -> torch.Tensor:
    """Process a prompt from `start` on, on the runner's grid; the last position's logits."""
    while start < len(ids):
        end = min((start // CHUNK_TOKENS + 1) * CHUNK_TOKENS, len(ids))
        logits = runner.forward([Chunk(slot, ids[start:end], start, is_prompt=True)])
        start = end
    return torch.from_numpy(logits[0])


def decode(runner: FusedRunner, slots: list[int], ids: list[int], positions: list[int]) -> torch.Tensor:
    rows = zip(slots, ids, positions, strict=True)
    return torch.from_numpy(runner.forward([Chunk(slot, [token], at, is_prompt=False) for slot, token, at in rows]))


@torch.inference_mode()
def reference_logits(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("variant", VARIANTS)
def test_fp32_logits_match_transformers(variant: str, load: Loader, reference: Reference) -> None:
    runner, ids = load(variant, "fp32"), tokens(150)
    expected = reference_logits(reference(variant)[0], ids)
    assert relative_error(prefill(runner, 0, ids[:130]), expected[129]) < 1e-4
    for position in range(130, 150):
        found = decode(runner, [0], [ids[position]], [position])[0]
        assert relative_error(found, expected[position]) < 1e-4
    runner.release(0)


@pytest.mark.parametrize("variant", SMALL)
def test_fp32_logits_match_past_the_first_cache_blocks(variant: str, load: Loader, reference: Reference) -> None:
    runner, ids = load(variant, "fp32"), tokens(600)
    expected = reference_logits(reference(variant)[0], ids)
    assert relative_error(prefill(runner, 2, ids[:576]), expected[575]) < 1e-4
    assert relative_error(decode(runner, [2], [ids[576]], [576])[0], expected[576]) < 1e-4
    runner.release(2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_int8_logits_point_the_same_way(variant: str, load: Loader, reference: Reference) -> None:
    """Here 0.96 to 0.99, by the kind of CPU; a wrong kernel gives next to nothing. What int8 costs is measured by
    `python -m benchmarks.quality`, on a model that has learned something."""
    runner, ids = load(variant), tokens(100)
    expected = reference_logits(reference(variant)[0], ids)[-1]
    assert torch.cosine_similarity(prefill(runner, 0, ids), expected, dim=0) > 0.9
    runner.release(0)


@pytest.mark.parametrize("variant", SMALL)
@torch.inference_mode()
def test_embedding_is_the_mean_of_the_final_hidden_states(variant: str, load: Loader, reference: Reference) -> None:
    model, ids = reference(variant)[0], tokens(100)
    hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    expected = torch.nn.functional.normalize(hidden.mean(0), dim=0)
    assert np.allclose(load(variant, "fp32").embed(ids), expected, atol=1e-5)
