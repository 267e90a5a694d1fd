"""What cannot be served is refused in one line that says which and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from minivault.engine import fused
from minivault.engine.host import Machine
from minivault.errors import ModelError
from tests.engine.fused.conftest import Reference

GOOD = Machine("x86_64", "AnyVendor", frozenset({"avx2"}))
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 96,
    "max_position_embeddings": 4096,
}
GPT2 = {"model_type": "gpt2", "n_embd": 48, "n_head": 3, "n_layer": 2, "n_positions": 64, "vocab_size": 96}


@pytest.mark.parametrize("config", [LLAMA, GPT2, LLAMA | {"sliding_window": 4096}, LLAMA | {"model_type": "mistral"}])
def test_known_models_are_served(config: dict[str, Any]) -> None:
    assert fused.why_not(config, GOOD) is None


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({}, "None"),
        (LLAMA | {"intermediate_size": None}, "intermediate_size"),
        (GPT2 | {"n_layer": None}, "n_layer"),
        (LLAMA | {"head_dim": 15}, "head size 15"),
        (LLAMA | {"num_key_value_heads": 3}, "num_key_value_heads 3"),
        (LLAMA | {"sliding_window": 1024}, "sliding_window 1024"),
        (LLAMA | {"hidden_act": "xielu"}, "xielu"),
        (LLAMA | {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "yarn"),
        (LLAMA | {"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        (LLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention"),
        (GPT2 | {"scale_attn_weights": False}, "scale_attn_weights"),
        (GPT2 | {"n_head": 5}, "n_head 5"),
    ],
)
def test_unsupported_configs_are_named_in_one_line(config: dict[str, Any], names: str) -> None:
    reason = fused.why_not(config, GOOD)
    assert reason is not None
    assert names in reason
    assert "\n" not in reason


def test_a_window_that_is_switched_off_does_not_matter() -> None:
    assert fused.why_not(LLAMA | {"sliding_window": 1024, "use_sliding_window": False}, GOOD) is None


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        (Machine("aarch64", "ARM", frozenset({"asimd"})), "aarch64"),
        (Machine("x86_64", "GenuineIntel", frozenset({"sse4_2", "avx"})), "AVX2"),
    ],
)
def test_other_machines_are_named_in_one_line(machine: Machine, names: str) -> None:
    reason = fused.why_not(LLAMA, machine)
    assert reason is not None
    assert names in reason


def test_only_a_cpu_with_vnni_takes_all_levels() -> None:
    vnni = frozenset({"avx2", "avx512_vnni", "avx512vl", "avx512bw"})
    assert Machine("x86_64", "GenuineIntel", vnni).has_vnni
    assert not GOOD.has_vnni


@pytest.fixture
def damaged(reference: Reference, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, to be spoilt."""
    for path in reference("llama")[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def spoil(directory: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(directory / "model.safetensors")
    tensors.pop(name)
    save_file(tensors if tensor is None else tensors | {name: tensor}, directory / "model.safetensors")


NORM = "model.layers.1.input_layernorm.weight"


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        (NORM, None, "layers.1.input_layernorm.weight is missing"),
        (NORM, torch.ones(65), r"layers.1.input_layernorm.weight has shape \(65,\); the config asks for \(64,\)"),
        (NORM, torch.full((64,), torch.nan), "layers.1.input_layernorm.weight holds NaN"),
        ("model.embed_tokens.weight", torch.full((96, 64), torch.inf), "embed_tokens.weight holds NaN or infinite"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_tensor_name(
    damaged: Path, name: str, tensor: torch.Tensor | None, says: str
) -> None:
    spoil(damaged, name, tensor)
    with pytest.raises(ModelError, match=says):
        fused.prepare(damaged, damaged / "out" / "fused.safetensors")
    assert not (damaged / "out").exists() or not list((damaged / "out").iterdir())


def test_an_unsupported_checkpoint_is_not_prepared(damaged: Path) -> None:
    config = json.loads((damaged / "config.json").read_text()) | {"hidden_act": "xielu"}
    (damaged / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="xielu"):
        fused.prepare(damaged, damaged / "fused.safetensors")


def test_preparing_reports_every_layer(damaged: Path) -> None:
    seen: list[tuple[int, int]] = []
    fused.prepare(damaged, damaged / "fused.safetensors", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_file_that_is_not_prepared_is_refused(damaged: Path) -> None:
    with pytest.raises(ModelError, match="prepare the model again"):
        fused.load(damaged / "model.safetensors", num_slots=1, context=64)
    with pytest.raises(ModelError, match="not a prepared model"):
        fused.load(damaged / "config.json", num_slots=1, context=64)


def test_learned_positions_limit_the_context(reference: Reference, tmp_path: Path) -> None:
    fused.prepare(reference("gpt2")[1], tmp_path / "fused.safetensors")
    with pytest.raises(ModelError, match="context 2048 exceeds"):
        fused.load(tmp_path / "fused.safetensors", num_slots=1, context=2048)
