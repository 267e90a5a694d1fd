"""Experts out of GGUF files: a tensor for all of a layer or for each, and gpt-oss's in four bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from minivault.engine import exact
from minivault.errors import ModelError
from minivault.models.gguf import config
from minivault.models.gguf.metadata import GgufFile
from tests.engine.exact import families
from tests.engine.exact.conftest import Loader
from tests.engine.exact.floats import by_transformers
from tests.engine.exact.test_correctness import relative_error
from tests.engine.exact.test_families import TOKENS, divergence
from tests.models.test_gguf_families import write

MXFP4 = gguf.GGMLQuantizationType.MXFP4


def _apart(tensors: dict[str, Any]) -> dict[str, Any]:
    """As the first files of models with experts had them: a tensor for each."""
    found = dict[str, Any]()
    for name, value in tensors.items():
        each = {name.replace("_exps", f".{index}"): one for index, one in enumerate(value)} if "_exps" in name else None
        found |= each or {name: value}
    return found


@pytest.mark.timeout(600)
def test_experts_may_have_a_tensor_each(tmp_path: Path) -> None:
    directory = families.write("mixtral", tmp_path / "mixtral")
    original = json.loads((directory / "config.json").read_text())
    weights = load_file(directory / "model.safetensors")
    path = write(tmp_path / "model.gguf", original, weights, change=_apart)
    file = GgufFile.open(path)
    assert "blk.0.ffn_gate.3.weight" in file.by_name
    exact.prepare_gguf(file, config.config_of(file), tmp_path / "apart.exact")
    exact.prepare_gguf(GgufFile.open(write(tmp_path / "one.gguf", original, weights)), original, tmp_path / "one.exact")
    apart, together = (exact.unpack(tmp_path / f"{name}.exact") for name in ("apart", "one"))
    assert apart.keys() == together.keys()
    assert all(np.array_equal(values, together[name]) for name, values in apart.items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda found: found.pop("blk.2.ffn_up.5.weight"), r"blk\.2\.ffn_up_exps is missing"),
        (lambda found: found.update({"blk.2.ffn_up.99.weight": found["blk.2.ffn_up.5.weight"]}), r"ffn_up\.99\.weight"),
    ],
    ids=["missing", "more"],
)
def test_experts_of_a_tensor_each_are_counted(
    change: Callable[[dict[str, Any]], object], told: str, tmp_path: Path
) -> None:
    directory = families.write("mixtral", tmp_path / "mixtral")
    original = json.loads((directory / "config.json").read_text())

    def changed(tensors: dict[str, Any]) -> dict[str, Any]:
        found = _apart(tensors)
        change(found)
        return found

    path = write(tmp_path / "m.gguf", original, load_file(directory / "model.safetensors"), change=changed)
    with pytest.raises(ModelError, match=told):
        exact.prepare_gguf(GgufFile.open(path), original, tmp_path / "m.exact")


def in_four_bits(tensors: dict[str, Any]) -> dict[str, Any]:
    """As released files of gpt-oss have their experts."""
    is_map = {name: name.endswith("_exps.weight") for name in tensors}
    return {
        name: gguf.quantize(np.ascontiguousarray(value, np.float32), MXFP4) if is_map[name] else value
        for name, value in tensors.items()
    }


def test_gpt_oss_in_four_bits_has_the_logits_of_transformers(tmp_path: Path, load: Loader) -> None:
    """Within the bounds of `test_families`. Its config is used, since files do not tell this one's limit."""
    directory = families.write("gpt_oss", tmp_path / "gpt_oss")
    original = json.loads((directory / "config.json").read_text())
    weights = load_file(directory / "model.safetensors")
    file = GgufFile.open(write(tmp_path / "model.gguf", original, weights, change=in_four_bits))
    assert file.by_name["blk.0.ffn_gate_exps.weight"].type == "MXFP4"
    exact.prepare_gguf(file, original, tmp_path / "weights.exact")
    meant = exact.unpack(tmp_path / "weights.exact")
    down = file.by_name["blk.1.ffn_down_exps.weight"]
    stored = gguf.dequantize(np.asarray(down.data), MXFP4).reshape(down.shape)
    assert np.array_equal(meant["model.layers.1.mlp.experts.down_proj"], stored.swapaxes(1, 2))
    error, kl = compared(directory, tmp_path / "weights.exact", load)
    assert error < 0.08
    assert kl < 0.01


def compared(directory: Path, prepared: Path, load: Loader) -> tuple[float, float]:
    """Median relative error of the logits, and mean divergence, from transformers' in float32 of the same numbers."""
    runner = load.open(prepared)
    found, expected = runner.every_logit(TOKENS), by_transformers(directory, exact.unpack(prepared), TOKENS)
    runner.close()
    errors = [relative_error(*rows) for rows in zip(found, expected, strict=True)]
    return float(np.median(errors)), divergence(found, expected)
