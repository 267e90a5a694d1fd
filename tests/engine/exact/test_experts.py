"""Experts that a checkpoint holds packed, and switches of models with experts that are not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minivault.engine import exact
from minivault.errors import ModelError
from tests.engine.exact import families

LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""Of a 4-bit float (OCP Microscaling Formats, E2M1)."""


def packed(directory: Path) -> dict[str, np.ndarray]:
    """A gpt-oss checkpoint with its experts as released ones have them; the numbers that these stand for, by name."""
    tensors, meant = load_file(directory / "model.safetensors"), dict[str, np.ndarray]()
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        count = experts * outputs * inputs // 32
        blocks = (np.arange(count * 16) * 37 % 251).astype(np.uint8).reshape(experts, outputs, inputs // 32, 16)
        scales = (118 + np.arange(count) % 5).astype(np.uint8).reshape(experts, outputs, inputs // 32)
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        values = np.stack([LEVELS[blocks & 15], LEVELS[blocks >> 4]], -1).reshape(*scales.shape, 32)
        of_rows = np.ldexp(values, scales[..., None].astype(np.int32) - 127).reshape(experts, outputs, inputs)
        meant[name] = of_rows.swapaxes(1, 2)
    save_file(tensors, directory / "model.safetensors")
    return meant


def test_packed_experts_are_kept_as_they_are(tmp_path: Path) -> None:
    directory = families.write("gpt_oss", tmp_path / "gpt_oss", {"intermediate_size": 96})
    meant = packed(directory)
    exact.prepare_checkpoint(directory, tmp_path / "weights.exact")
    found = exact.unpack(tmp_path / "weights.exact")
    assert len(meant) == 8  # of four layers
    for name, values in meant.items():
        assert np.array_equal(found[name], values)


def test_packed_experts_without_exponents_are_refused_by_name(tmp_path: Path) -> None:
    directory = families.write("gpt_oss", tmp_path / "gpt_oss")
    packed(directory)
    tensors = load_file(directory / "model.safetensors")
    name = "model.layers.2.mlp.experts.down_proj_scales"
    save_file({key: value for key, value in tensors.items() if key != name}, directory / "model.safetensors")
    with pytest.raises(ModelError, match=r"layers\.2\.mlp\.experts\.down_proj_scales is missing"):
        exact.prepare_checkpoint(directory, tmp_path / "weights.exact")


@pytest.mark.parametrize("variant", ["mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss"])
def test_what_was_prepared_is_the_checkpoint_again(variant: str, tmp_path: Path) -> None:
    directory = families.write(variant, tmp_path / variant)
    exact.prepare_checkpoint(directory, tmp_path / "weights.exact")
    given, found = load_file(directory / "model.safetensors"), exact.unpack(tmp_path / "weights.exact")
    assert found.keys() == given.keys()
    for name, values in given.items():
        assert found[name].shape == values.shape
        assert np.abs(found[name] - values).max() <= 0.005 * np.abs(values).max()


@pytest.mark.parametrize(
    ("variant", "switch", "value"),
    [
        ("qwen3_moe", "mlp_only_layers", [1]),
        ("qwen2_moe", "decoder_sparse_step", 2),
        ("qwen3_moe", "num_experts_per_tok", None),
        ("gpt_oss", "hidden_act", "gelu"),
        ("mixtral", "num_local_experts", None),
    ],
)
def test_a_switch_that_is_not_supported_is_named(variant: str, switch: str, value: Any, tmp_path: Path) -> None:
    config = json.loads((families.write(variant, tmp_path / variant) / "config.json").read_text())
    assert exact.why_not(config) is None
    reason = exact.why_not(config | {switch: value})
    assert reason is not None
    assert switch in reason
