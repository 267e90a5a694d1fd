"""A LoRA adapter is merged as PEFT merges it, before weights get their grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minivault.engine import exact
from minivault.engine.exact.lora import Change
from minivault.errors import ModelError
from minivault.models.adapter import read_adapter
from tests.engine.exact import checkpoints, families
from tests.engine.exact.conftest import Loader
from tests.engine.exact.driving import tokens
from tests.engine.exact.test_correctness import relative_error

TOKENS = tokens(60)
pytestmark = [
    pytest.mark.timeout(600),
    # PEFT's own: of GPT-2's layers, and of what it calls in transformers
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


def make_adapter(base: Path, out: Path, **given: Any) -> Any:
    """An adapter of every linear map but the head, as PEFT saves it, and the library's own model with it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(**{"r": 4, "lora_alpha": 12, "task_type": "CAUSAL_LM", "target_modules": "all-linear"} | given)
    adapted = get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, values in adapted.named_parameters():
            if "lora_" in name:
                values.copy_(torch.from_numpy(checkpoints.noise(name, *values.shape)) * 0.2)
    adapted.save_pretrained(out)
    return adapted


@pytest.fixture(params=["llama3", "phi3", "gpt2"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Maps of their own, joined, and stored the other way round."""
    write = checkpoints.write if request.param == "gpt2" else families.write
    return write(request.param, tmp_path / "base")


@pytest.mark.parametrize(
    "given", [{}, {"use_rslora": True, "rank_pattern": {".*[oc]_proj": 3}}], ids=["plain", "by root"]
)
def test_a_merged_model_computes_what_peft_computes(
    base: Path, tmp_path: Path, load: Loader, given: dict[str, Any]
) -> None:
    adapted = make_adapter(base, tmp_path / "adapter", **given)
    with torch.inference_mode():
        expected = adapted(torch.tensor([TOKENS])).logits[0].numpy()
    exact.prepare_checkpoint(base, tmp_path / "it.exact", adapter=read_adapter(tmp_path / "adapter"))
    exact.prepare_checkpoint(base, tmp_path / "base.exact")
    found, without = (logits_of(load, tmp_path / name) for name in ("it.exact", "base.exact"))
    assert relative_error(found, expected) < 0.08
    assert relative_error(without, expected) > 0.2


def logits_of(load: Loader, path: Path) -> np.ndarray:
    runner = load.open(path)
    found = runner.every_logit(TOKENS)
    runner.close()
    return found


def test_weights_are_on_the_grid_of_the_merged_ones(base: Path, tmp_path: Path) -> None:
    """To a step, where a sum of PEFT's in another order falls on the other side of a half."""
    adapted = make_adapter(base, tmp_path / "adapter")
    exact.prepare_checkpoint(base, tmp_path / "ours.exact", adapter=read_adapter(tmp_path / "adapter"))
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    exact.prepare_checkpoint(tmp_path / "merged", tmp_path / "theirs.exact")
    ours, theirs = (exact.unpack(tmp_path / f"{name}.exact") for name in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert np.allclose(values, theirs[name], rtol=0, atol=np.abs(theirs[name]).max() / 127), name


def test_a_row_is_the_same_in_any_company() -> None:
    up, down = checkpoints.noise("up", 3000, 5), checkpoints.noise("down", 5, 96)
    change = Change(up, down, np.float32(0.3))
    every = change.of(np.arange(3000))
    assert np.allclose(every, 0.3 * up @ down, atol=1e-6)
    some = np.array([2999, 0, 7, 7])
    assert np.array_equal(change.of(some), every[some])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "lora_A.weight",
            "lora_magnitude_vector.weight",
            "lora_magnitude_vector.weight of the adapter is no matrix of",
        ),
        ("layers.0.self_attn.q_proj.lora_A", "layers.9.self_attn.q_proj.lora_A", "q_proj.lora_A.weight of the adapter"),
        (
            "layers.0.self_attn.q_proj",
            "layers.9.self_attn.q_proj",
            "changes layers.9.self_attn.q_proj, which is no map",
        ),
        ("layers.0.self_attn.q_proj", "layers.0.self_attn.x", "changes layers.0.self_attn.x, which is no map"),
        ("layers.0.mlp.up_proj", "layers.0.mlp.down_proj", "up_proj.weight has shape .*; the adapter is for one of"),
    ],
)
def test_what_does_not_fit_its_base_is_refused_by_name(tmp_path: Path, old: str, new: str, told: str) -> None:
    base = families.write("llama3", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8 : 8 + length]).items()
    header = {name.replace(old, "*").replace(new, old).replace("*", new): entry for name, entry in tensors}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(ModelError, match=told):
        exact.prepare_checkpoint(base, tmp_path / "out.exact", adapter=read_adapter(tmp_path / "adapter"))
    assert not (tmp_path / "out.exact").exists()
